"""The export's folder: written aside and renamed when it is whole, without paths of this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.export.base_model import BaseModel
from harness.paths import user_path
from harness.records import read_json, write_json, write_text
from harness.records.disk_full import require_room
from harness.records.disk_usage import make_writable

CONTENTS = "export.json"  # marks a whole export
LEFT_OUT = ("README.md", "load.py", CONTENTS)  # peft's card says nothing; the others are written
CONFIGURATIONS = (  # files that may name a place on this machine
    *("adapter_config.json", "config.json", "generation_config.json"),
    *("tokenizer_config.json", "special_tokens_map.json"),
)
_NAMES_A_PATH = re.compile(r"(path|file|folder|dir|cache)$")
_PATH = re.compile(r"(?<![\w:/.~])~?/(?:[^\s/'\"<>|]+/)+")


def exported(folder: Path) -> dict[str, Any] | None:
    """Return what the export in ``folder`` holds; None if there is none."""
    found = read_json(folder / CONTENTS)
    return found if isinstance(found, dict) else None


def check_free(folder: Path, overwrite: bool) -> None:
    """Raises InputError where something stands in ``folder`` that may not be replaced."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if exported(folder) is None:
        raise InputError(
            f"output={str(folder)!r} cannot be used: it exists, and is no export. Name another folder."
        )
    if not overwrite:
        raise InputError(
            f"output={str(folder)!r} holds another export. Name another folder, or replace it with "
            "overwrite=true."
        )


@contextmanager
def written_aside(folder: Path, needed: int) -> Iterator[Path]:
    """Give a folder to write into, which takes the place of ``folder`` at the end.

    A process that is killed leaves a hidden folder, which the next export to the same place removes.
    Raises InputError and DiskFull before anything is written.
    """
    make_writable("output", folder.parent)
    require_room(folder.parent, needed)
    for left in folder.parent.glob(f".{folder.name}.*.tmp"):
        if not _is_running(int(number) if (number := left.name.split(".")[-2]).isdecimal() else 0):
            shutil.rmtree(left, ignore_errors=True)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        old = folder.with_name(f".{folder.name}.old.{os.getpid()}.tmp")
        if folder.exists():
            folder.replace(old)
        aside.replace(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process > 0


def copy_model(source: Path, folder: Path, base: BaseModel, written: Mapping[str, Any]) -> None:
    """Copy the trial's adapter or model. Its files name the base as it is called elsewhere.

    ``written`` says how prompts are written: a chat template of training becomes the tokenizer's own.
    """
    for file in sorted(path for path in source.iterdir() if path.is_file()):
        if file.name in LEFT_OUT or file.name.startswith("."):
            continue
        if file.name in CONFIGURATIONS:
            values = json.loads(file.read_text(encoding="utf-8"))
            if file.name == "adapter_config.json":
                values |= {"base_model_name_or_path": base.hub, "revision": base.revision}
            write_json(folder / file.name, without_paths(values))
        else:
            shutil.copyfile(file, folder / file.name)
    template = written.get("chat_template")
    if isinstance(template, str):
        write_text(folder / "chat_template.jinja", template)


def without_paths(values: Any, key: str = "") -> Any:
    """Return JSON ``values`` in which an absolute path is only its last part.

    Paths are what stands under a key of that name, and what exists here. A token such as ``/m/03`` is
    none.
    """
    if isinstance(values, dict):
        return {name: without_paths(value, name) for name, value in values.items()}
    if isinstance(values, list):
        return [without_paths(value, key) for value in values]
    if isinstance(values, str) and values.startswith(("/", "~/")) and "\n" not in values:
        path = user_path(values)
        if len(path.parts) > 2 and (_NAMES_A_PATH.search(key) or os.path.exists(path)):
            return path.name
    return values


def names_only(text: str) -> str:
    """Return a sentence with absolute paths cut to their last part."""
    return _PATH.sub("", text)
