"""Location of a base: built-in folder, local folder, or a commit on the hub."""

from __future__ import annotations

from pathlib import Path

from harness.config import ModelConfig
from harness.config.strict import require
from harness.errors import InputError, first_line
from harness.paths import user_path


def model_path(config: ModelConfig) -> str:
    """Return the argument of ``from_pretrained``: a built-in folder, a local folder, or a hub name."""
    if config.name in ("builtin", "builtin_chat"):
        from harness import builtin

        return str(builtin.MODEL if config.name == "builtin" else builtin.CHAT_MODEL)
    folder = user_path(config.name)
    return str(folder) if config.name.startswith("~") and folder.is_dir() else config.name


def check_model(config: ModelConfig) -> None:
    """Check ``model.name`` without loading anything. Raises InputError."""
    if not config.name:
        raise InputError("model.name is not set: give a hub name or a local directory.")
    path = Path(model_path(config))
    looks_local = config.name.startswith((".", "/", "~")) or path.exists()
    require(
        config.revision is None or not looks_local,
        "model.revision",
        config.revision,
        f"null where model.name={config.name} is a folder: only models on the hub have revisions",
    )
    if not looks_local:
        if config.name.count("/") > 1:
            raise InputError(
                f"model.name={config.name!r} is neither an existing folder nor a hub name "
                "(owner/name); model=builtin is the built-in one."
            )
        return
    if not path.is_dir():
        raise InputError(f"model.name={config.name!r} cannot be used: this folder does not exist.")
    if (path / "adapter_config.json").is_file():
        raise InputError(
            f"model.name={config.name!r} cannot be used: it holds an adapter, not a model. Set "
            "model.name to the model that it was trained on. To measure the adapter, use "
            f"harness.evaluate with adapter={config.name}."
        )
    if not (path / "config.json").is_file():
        raise InputError(f"model.name={config.name!r} cannot be used: it has no config.json.")
    if not list(path.glob("*.safetensors")):
        raise InputError(
            f"model.name={config.name!r} cannot be used: it has no *.safetensors file. Other "
            "formats can contain code and are not read. Convert it with save_pretrained()."
        )


def pinned_revision(config: ModelConfig) -> str | None:
    """Return the commit of a hub model's revision; None for a local model.

    Resolved once, before any fingerprint, so that a branch may move during a sweep. Without a
    network it is the commit in the cache. Raises InputError if it is in neither.
    """
    if Path(model_path(config)).exists():
        return None
    from huggingface_hub import HfApi, constants
    from huggingface_hub.file_download import repo_folder_name

    revision = config.revision or "main"
    if len(revision) == 40 and all(character in "0123456789abcdef" for character in revision):
        return revision
    cached = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=config.name, repo_type="model")
    try:
        if not constants.HF_HUB_OFFLINE:
            return HfApi().model_info(config.name, revision=revision, timeout=5).sha
    except Exception as error:  # no network, model or permission: the cache may have it
        if not (cached / "refs" / revision).is_file():
            raise InputError(
                f"model.name={config.name!r} cannot be used: it is neither an existing folder nor "
                "in "
                f"the cache, and the hub answered: {first_line(error)}"
            ) from error
    try:
        return (cached / "refs" / revision).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InputError(
            f"model.name={config.name!r} cannot be used: it is neither an existing folder nor in "
            "the "
            "cache, and HF_HUB_OFFLINE forbids downloading from the hub."
        ) from error
