"""Load lm-eval's tasks by their configured names; tasks may be found, refused or unreachable.

They are loaded once per process, since lm-eval's index of built-in tasks alone takes half a minute.
"""

from __future__ import annotations

import difflib
import json
import logging
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from harness.config import EvaluationConfig
from harness.errors import InputError, unknown
from harness.evaluation.benchmarks.choices import SUFFIX, generated_twin
from harness.evaluation.benchmarks.task_folder import Folder, contents, read_folder
from harness.language import recorded

SEED = 1234  # lm-eval's own default, of few-shot examples among others


@dataclass(frozen=True)
class Loaded:
    """lm-eval's tasks by name, with the settings to run each."""

    tasks: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, int | None] = field(default_factory=dict)
    clusters: dict[str, str] = field(default_factory=dict)  # task → field that items share
    twins: dict[str, str] = field(default_factory=dict)  # task by generation → its original
    missing: dict[str, str] = field(default_factory=dict)


def load_tasks(config: EvaluationConfig) -> Loaded:
    """Load every requested task. Raises InputError. Tasks that a hub withholds are ``missing``."""
    files = tuple(contents(config.task_folder)) if config.task_folder else ()
    fields = (config.tasks, config.task_folder, config.task_limit, config.num_fewshot)
    fields += (config.per_task, config.multiple_choice, config.unsafe_tasks)
    return _load(json.dumps(fields, sort_keys=True), files)


def check_tasks(config: EvaluationConfig) -> dict[str, str]:
    """Return the unreachable tasks with reasons, before anything is spent. Raises InputError."""
    return load_tasks(config).missing


@lru_cache(maxsize=4)
def _load(fields: str, files: tuple[str, ...]) -> Loaded:
    names, folder_name, limit, num_fewshot, per_task, ways, unsafe = json.loads(fields)
    import lm_eval.utils
    from datasets.utils.logging import disable_progress_bar

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    disable_progress_bar()
    lm_eval.utils.env = _sandbox(lm_eval.utils.env)
    folder = read_folder(folder_name) if folder_name else Folder({}, {})
    _check_metrics(folder)
    loaded = Loaded()
    for asked, specs in _specs(names, folder, unsafe).items():
        try:
            with seeded():  # some tasks shuffle their choices as they are read
                found = [task for spec in specs for task in _built(spec).values()]
        except InputError:
            raise
        except Exception as error:  # a task's data, templates and packages may raise anything
            if not _out_of_reach(error):
                what = f"{type(error).__name__}: {_first_line(error)}"
                raise InputError(f"task {asked!r} cannot be used: {what}") from error
            loaded.missing[asked] = recorded(
                "its data cannot be reached: {error}", error=_first_line(error)
            )
            continue
        for task in found:
            if task.task_name in loaded.tasks:
                raise InputError(f"task {task.task_name!r} is asked for twice, by name or group.")
            options = per_task.get(asked, {}) | per_task.get(task.task_name, {})
            shots = options.get("num_fewshot", num_fewshot)
            if shots is not None and task.get_config("num_fewshot") != 0:
                task.set_config(key="num_fewshot", value=shots)
            elif task.get_config("num_fewshot") is None:
                task.set_config(key="num_fewshot", value=0)
            _add(loaded, task, ways, options.get("limit", limit), options.get("cluster"))
    known = {*loaded.tasks, *loaded.missing, *names, *folder.groups}
    for name in per_task:
        if name not in known:
            raise unknown("task in evaluation.per_task", name, known)
    return loaded


def _add(loaded: Loaded, task: Any, ways: list[str], limit: int | None, cluster: Any) -> None:
    name = task.task_name
    if getattr(task, "MULTIMODAL", False):
        raise InputError(f"task {name!r} cannot be used: it asks about images or sound.")
    if cluster is not None:
        fields = list(task.eval_docs[0])
        if "{{" not in cluster and cluster not in fields:
            raise unknown(f"field in evaluation.per_task.{name}.cluster", cluster, fields)
    own = [name]
    loaded.tasks[name] = task
    if task.OUTPUT_TYPE == "multiple_choice" and "generation" in ways:
        twin_name = f"{name}{SUFFIX}"
        try:
            twin = generated_twin(task)
        except ValueError as error:
            loaded.missing[twin_name] = str(error)
        else:
            own.append(twin_name)
            loaded.tasks[twin_name] = twin
            loaded.twins[twin_name] = name
        if "likelihood" not in ways:
            del loaded.tasks[own.pop(0)]
    for one in own:
        loaded.limits[one] = limit
        if cluster is not None:
            loaded.clusters[one] = cluster


def _specs(names: list[str], folder: Folder, unsafe: bool) -> dict[str, list[Any]]:
    """Return requested name → specifications. If no task of the folder is named, all are taken."""
    inside = {name: [name] for name in folder.tasks} | folder.groups
    specs: dict[str, list[Any]] = {}
    for name in names:
        if name in inside:
            for member in inside[name]:
                if member not in folder.tasks:
                    raise unknown(f"task in group {name!r}", member, folder.tasks)
            specs[name] = [folder.tasks[member] for member in inside[name]]
            continue
        index = _built_in()
        if name not in index.all_tasks:
            near = difflib.get_close_matches(name, [*inside, *index.all_tasks], n=5)
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            n = len(index.all_tasks)
            raise InputError(
                f"Unknown task in evaluation.tasks '{name}'.{hint} lm-eval has {n:,} tasks, groups and "
                "tags: `lm-eval ls tasks` shows them."
            )
        specs[name] = [name]
        _refuse_unsafe(name, unsafe)
    if not any(name in inside for name in names):
        specs = {name: [task] for name, task in folder.tasks.items()} | specs
    for name, tasks in specs.items():
        for task in tasks:
            if isinstance(task, dict) and task.get("unsafe_code") and not unsafe:
                raise _unsafe(name)
    return specs


def _sandbox(env: Any) -> Any:
    """Restrict ``env`` so that a YAML's templates cannot reach Python. lm-eval's own allow any call."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    safe = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    safe.filters.update(env.filters)
    return safe


@lru_cache(maxsize=1)
def _built_in() -> Any:
    """Load the index of built-in tasks. It takes half a minute, so only if one is named."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_defaults=True)


def _built(spec: Any) -> dict[str, Any]:
    from copy import deepcopy

    from lm_eval.tasks import TaskManager

    if isinstance(spec, str):
        return _built_in().load([spec])["tasks"]
    return TaskManager(include_defaults=False).load([deepcopy(spec)])["tasks"]


def _refuse_unsafe(name: str, unsafe: bool) -> None:
    """Refuse unsafe tasks before they are built, because building runs their Python."""
    for leaf in _leaves(name, set()):
        entry = _built_in().task_index.get(leaf)
        if entry is not None and (entry.cfg or {}).get("unsafe_code") and not unsafe:
            raise _unsafe(leaf)


def _leaves(name: str, seen: set[str]) -> Iterator[str]:
    entry = _built_in().task_index.get(name)
    if entry is None or name in seen:
        return
    seen.add(name)
    yield name
    members = (entry.cfg or {}).get("task") if entry.kind.name == "GROUP" else sorted(entry.tags)
    if entry.kind.name in ("GROUP", "TAG") and isinstance(members, Iterable):
        for member in members:
            inner = (
                member.get("task") or member.get("group") if isinstance(member, dict) else member
            )
            if isinstance(inner, str):
                yield from _leaves(inner, seen)


def _unsafe(name: str) -> InputError:
    return InputError(
        f"task {name!r} runs code that the model writes, on this machine: it is refused unless "
        "evaluation.unsafe_tasks=true."
    )


def _check_metrics(folder: Folder) -> None:
    """Refuse metrics unknown to lm-eval, which would fetch and run them as hub scripts."""
    import lm_eval.api.metrics  # noqa: F401  registers them
    from lm_eval.api.registry import metric_registry

    for name, task in folder.tasks.items():
        for metric in task.get("metric_list") or []:
            known = sorted(metric_registry.keys())
            if not isinstance(metric, dict) or metric.get("metric") not in known:
                named = metric.get("metric") if isinstance(metric, dict) else metric
                raise unknown(f"metric of task {name!r}", named, known)


def _out_of_reach(error: BaseException) -> bool:
    """Return True for failures outside the task: no network, or no readable data set on the hub."""
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import HfHubHTTPError

    return isinstance(error, ConnectionError | TimeoutError | DatasetNotFoundError | HfHubHTTPError)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def seeded() -> Iterator[None]:
    """Seed the global generators with lm-eval's seeds, and restore them afterwards."""
    import torch

    before = random.getstate(), np.random.get_state()  # noqa: NPY002  not ours: tasks draw from them
    with torch.random.fork_rng():
        random.seed(0)
        np.random.seed(SEED)  # noqa: NPY002
        torch.manual_seed(SEED)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002
