"""Folders of configuration: conf/ of the repository, and the one that --config-dir names."""

from __future__ import annotations

from pathlib import Path

from harness.errors import InputError
from harness.paths import user_path


def conf_dir() -> Path:
    """Return the repository's ``conf/``, or its copy inside an installed wheel."""
    package = Path(__file__).parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def own_folder(config_dir: str | None) -> Path | None:
    """Return the folder that ``--config-dir`` names, if any. Raises InputError if it does not exist."""
    if config_dir is None:
        return None
    folder = user_path(config_dir)
    if not folder.is_dir():
        raise InputError(f"--config-dir={config_dir!r}: there is no such folder.")
    return folder
