"""Tasks that the model was not trained for, through lm-eval: what it could do, and still can.

lm-eval's response cache has no model in its key, so it is never used. Tasks in a folder are read as
plain data: a YAML that names Python (``!function``) is refused.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from harness.config import EvaluationConfig
from harness.errors import InputError, unknown
from harness.evaluation.measured import Measured
from harness.models.load import Base
from harness.records import read_json, write_json

if TYPE_CHECKING:
    from torch import nn

FORMAT = 2  # of what base_results keeps: another way to ask makes other results
Results = dict[str, list[float]]  # task → score of each item, by the item's number


def wanted(config: EvaluationConfig) -> bool:
    return bool(config.tasks or config.task_folder)


def run_tasks(model: nn.Module, tokenizer: Any, config: EvaluationConfig, device: str) -> Results:
    """Score of every item of every task, in the order of the items. Raises InputError.

    The model is handed over as it is in memory; logits that virtual tokens lengthened are cut by
    lm-eval itself.
    """
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    model.eval()
    tasks: list[Any] = list(folder_tasks(config.task_folder)) if config.task_folder else []
    manager = TaskManager(include_defaults=bool(config.tasks))
    for name in config.tasks:
        if name not in manager.all_tasks:
            raise unknown("task in evaluation.tasks", name, manager.all_tasks)
        tasks.append(name)
    with _as_it_is(model):
        wrapped = HFLM(
            pretrained=model,
            tokenizer=_beginning(tokenizer),
            backend="causal",
            batch_size=config.batch_size,
            device=device,
            add_bos_token=tokenizer.bos_token_id is not None,
        )
    results = lm_eval.simple_evaluate(
        model=wrapped,
        tasks=tasks,
        num_fewshot=config.num_fewshot,
        limit=config.task_limit,
        bootstrap_iters=0,
        log_samples=True,
        verbosity="ERROR",
        task_manager=manager,
    )
    assert results is not None
    return {task: _scores(rows) for task, rows in sorted(results.get("samples", {}).items())}


@contextmanager
def _as_it_is(model: nn.Module) -> Iterator[None]:
    """lm-eval ties the weights of any model it is given; those of a masked one are no parameters."""
    model.tie_weights = lambda *args, **options: None
    try:
        yield
    finally:
        del model.tie_weights


def _beginning(tokenizer: Any) -> Any:
    """The tokenizer, or a copy that puts its bos before each text, as training and generation do.

    lm-eval leaves it to the tokenizer, and one that only knows its bos adds none: the items would then
    begin as no text did that the model has seen.
    """
    bos, backend = tokenizer.bos_token, getattr(tokenizer, "backend_tokenizer", None)
    if bos is None or backend is None or tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id:
        return tokenizer
    from tokenizers.processors import Sequence, TemplateProcessing

    begins = TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)])
    known = backend.post_processor
    copy = deepcopy(tokenizer)
    copy.backend_tokenizer.post_processor = begins if known is None else Sequence([known, begins])
    return copy


def _scores(rows: list[dict[str, Any]]) -> list[float]:
    """The first metric of each item that is a number: acc where a task has it.

    A task that reads its answers in several ways (``filter``) has a row for each: the first counts.
    """
    first = [row for row in rows if row["filter"] == rows[0]["filter"]]
    ordered = sorted(first, key=lambda row: row["doc_id"])
    names = [name for name in ordered[0]["metrics"] if isinstance(ordered[0][name], int | float)]
    name = "acc" if "acc" in names else names[0]
    return [float(row[name]) for row in ordered]


def task_folder(config_value: str) -> Path:
    if config_value == "builtin":
        from harness import builtin

        return builtin.CLOZE_TASKS
    return Path(config_value)


def folder_tasks(folder: str) -> list[dict[str, Any]]:
    """Task configurations of a folder, files that they name made absolute. Raises InputError."""
    path = task_folder(folder)
    files = sorted(path.glob("*.yaml"))
    if not files:
        raise InputError(f"evaluation.task_folder={folder!r} cannot be used: no *.yaml in it.")
    tasks = []
    for file in files:
        try:
            task = yaml.safe_load(file.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise InputError(
                f"{file}: not plain YAML (code such as !function is not run): "
                f"{str(error).splitlines()[0]}"
            ) from error
        if not isinstance(task, dict) or "task" not in task:
            raise InputError(f"{file}: an lm-eval task is a mapping with a `task:` name.")
        files_of = task.get("dataset_kwargs", {}).get("data_files")
        if isinstance(files_of, Mapping):
            task["dataset_kwargs"]["data_files"] = {
                split: str((file.parent / name).resolve()) for split, name in files_of.items()
            }
        tasks.append(task)
    return tasks


def base_results(folder: Path, base: Base, config: EvaluationConfig, device: str) -> Results:
    """The base's results, measured once and kept under ``folder``."""
    asked = [config.tasks, config.task_limit, config.num_fewshot]
    local = _contents(config.task_folder) if config.task_folder else []
    what = json.dumps([FORMAT, base.fingerprint, asked, local], sort_keys=True, default=str)
    path = folder / f"{hashlib.sha256(what.encode()).hexdigest()[:16]}.json"
    known = read_json(path)
    if known is None:
        known = run_tasks(base.model, base.tokenizer, config, device)
        write_json(path, known)
    return known


def _contents(folder: str) -> list[str]:
    """Hashes of every file of a task folder: other items under the same names are other tasks."""
    files = sorted(path for path in task_folder(folder).rglob("*") if path.is_file())
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def add(measured: Measured, results: Results, base: Results, config: EvaluationConfig) -> None:
    """``forgetting.tasks`` over all items and by task: paired change of the score from the base."""
    pairs = {
        task: np.stack([np.asarray(scores), np.asarray(base[task])], axis=1)
        for task, scores in results.items()
    }
    about = f"lm-eval|few-shot:{config.num_fewshot}|limit:{config.task_limit}|change from base"
    measured.add("forgetting.tasks", np.concatenate(list(pairs.values())), about)
    for task, pair in pairs.items():
        measured.add(f"forgetting.tasks.{task}", pair, f"{about}|task:{task}")
