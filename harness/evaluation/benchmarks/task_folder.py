"""Folder of lm-eval task YAMLs, read as plain data. Keys that name code are refused."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.errors import InputError
from harness.paths import user_path

CODE = ("class", "custom_dataset", "use_prompt")  # keys that name Python or a file of templates


@dataclass(frozen=True)
class Folder:
    """Tasks of a folder by name, and the tasks that its groups and tags stand for."""

    tasks: dict[str, dict[str, Any]]
    groups: dict[str, list[str]]


def task_folder(config_value: str) -> Path:
    if config_value == "builtin":
        from harness import builtin

        return builtin.CLOZE_TASKS
    return user_path(config_value)


def folder_tasks(folder: str) -> list[dict[str, Any]]:
    """Return the task configurations of a folder, with absolute file paths. Raises InputError."""
    return list(read_folder(folder).tasks.values())


def read_folder(folder: str) -> Folder:
    """Read every ``*.yaml`` of the folder and its subfolders, following ``include``.

    A file that others include need not be a task itself. Raises InputError.
    """
    path = task_folder(folder)
    files = sorted(path.rglob("*.yaml"))
    if not files:
        raise InputError(f"evaluation.task_folder={folder!r} cannot be used: no *.yaml in it.")
    included: set[Path] = set()
    read = {file: _with_includes(file, path, included, ()) for file in files}
    tasks: dict[str, dict[str, Any]] = {}
    groups: dict[str, list[str]] = {}
    for file, task in read.items():
        if "group" in task and "task" in task and not isinstance(task["task"], str):
            groups[str(task["group"])] = [_member(file, member) for member in task["task"]]
        elif "task" in task:
            name = str(task["task"])
            if name in tasks:
                raise InputError(f"{file}: there is another task {name!r} in this folder.")
            tasks[name] = _checked(file, task)
            for tag in _listed(task.get("tag")):
                groups.setdefault(str(tag), []).append(name)
        elif file not in included:
            raise InputError(f"{file}: an lm-eval task is a mapping with a `task:` name.")
    return Folder(tasks, groups)


def contents(folder: str) -> list[str]:
    """Hash every file of a task folder, because other items under the same names are other tasks."""
    files = sorted(path for path in task_folder(folder).rglob("*") if path.is_file())
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def _with_includes(
    file: Path, folder: Path, included: set[Path], above: tuple[Path, ...]
) -> dict[str, Any]:
    try:
        task = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file}: not plain YAML (code such as !function is not run): "
            f"{str(error).splitlines()[0]}"
        ) from error
    if not isinstance(task, dict):
        raise InputError(f"{file}: an lm-eval task is a mapping with a `task:` name.")
    whole: dict[str, Any] = {}
    for name in _listed(task.pop("include", None)):
        other = (file.parent / str(name)).resolve()
        if not other.is_relative_to(folder.resolve()) or not other.is_file() or other in above:
            raise InputError(f"{file}: include={name!r} must be another file of this folder.")
        included.add(file.parent / str(name))
        whole |= _with_includes(other, folder, included, (*above, file.resolve()))
    if "dataset_kwargs" in task:
        task["dataset_kwargs"] = _absolute(file, task["dataset_kwargs"])
    return whole | task


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _member(file: Path, member: Any) -> str:
    name = member.get("task") if isinstance(member, dict) else member
    if not isinstance(name, str) or (isinstance(member, dict) and len(member) > 1):
        raise InputError(f"{file}: a group lists tasks of this folder by name, not {member!r}.")
    return name


def _absolute(file: Path, options: Any) -> Any:
    """Resolve ``data_files`` relative to the YAML that names them."""
    if not isinstance(options, dict) or "data_files" not in options:
        return options

    def at(name: Any) -> Any:
        if isinstance(name, Mapping):
            return {split: at(inner) for split, inner in name.items()}
        if isinstance(name, list):
            return [at(inner) for inner in name]
        return name if "://" in str(name) else str((file.parent / str(name)).resolve())

    return {**options, "data_files": at(options["data_files"])}


def _checked(file: Path, task: dict[str, Any]) -> dict[str, Any]:
    """Raise InputError for keys that would load code. Metrics must be lm-eval's own."""
    for key in CODE:
        if key in task:
            raise InputError(f"{file}: {key} cannot be used, a task here is data alone.")
    for metric in task.get("metric_list") or []:
        if isinstance(metric, dict) and metric.get("hf_evaluate"):
            raise InputError(
                f"{file}: metric {metric.get('metric')!r} with hf_evaluate would run a script from "
                "a hub; use one of lm-eval's own."
            )
    return task
