"""Run lm-eval on a model in memory, and once on the base."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import EvaluationConfig
from harness.data.rows.sampling import sampled_places
from harness.evaluation.benchmarks.chat_form import check_chat_template
from harness.evaluation.benchmarks.chat_form import how as how_asked
from harness.evaluation.benchmarks.loading import SEED, Loaded, load_tasks, seeded
from harness.evaluation.benchmarks.results import Results, TaskScores, scores
from harness.evaluation.benchmarks.task_folder import contents
from harness.evaluation.benchmarks.task_model import in_memory
from harness.models.load import Base
from harness.records import read_json, write_json

if TYPE_CHECKING:
    from torch import nn

FORMAT = 5  # of the cached results; raised when their fields or the way of asking change


def wanted(config: EvaluationConfig) -> bool:
    return bool(config.tasks or config.task_folder)


def import_library(config: EvaluationConfig) -> None:
    """Import lm-eval where tasks are wanted, before a base is loaded.

    The pool then leaves its 80,000 objects out of garbage collection, which takes place at the
    beginning and end of each phase of a trial.
    """
    if wanted(config):
        import lm_eval.evaluator
        import lm_eval.models.huggingface
        import lm_eval.tasks  # noqa: F401


def run_tasks(model: nn.Module, tokenizer: Any, config: EvaluationConfig, device: str) -> Results:
    """Run ``model`` on every task. A failed task is in ``missing`` with its reason. Raises InputError.

    The model is passed as it is in memory. Virtual tokens lengthen its logits, which lm-eval truncates.
    """
    check_chat_template(tokenizer, config)
    loaded = load_tasks(config)
    results = Results(missing=dict(loaded.missing))
    if not loaded.tasks:
        return results
    model.eval()
    wrapped = in_memory(model, tokenizer, config, device)
    for name in sorted(loaded.tasks):
        try:
            results.tasks[name] = _run(wrapped, name, loaded, config)
        except Exception as error:  # a task's code, data and metrics may raise anything
            lines = str(error).strip().splitlines() or [""]
            results.missing[name] = f"{type(error).__name__}: {lines[0]}"
    return results


def _run(wrapped: Any, name: str, loaded: Loaded, config: EvaluationConfig) -> TaskScores:
    from lm_eval.evaluator import evaluate

    task, limit = loaded.tasks[name], loaded.limits[name]
    task.set_fewshot_seed(seed=SEED)  # the same examples for every model
    n_items = len(task.eval_docs)
    chosen = None if limit is None else sampled_places(n_items, limit, SEED)
    samples = None if chosen is None else {name: chosen}
    # Suppress lm-eval's progress bars and messages.
    with (
        seeded(),
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
    ):
        found = evaluate(
            lm=wrapped,
            task_dict={"tasks": {name: task}},
            samples=samples,
            bootstrap_iters=0,
            apply_chat_template=config.apply_chat_template,
            fewshot_as_multiturn=bool(config.apply_chat_template) and config.fewshot_as_multiturn,
            system_instruction=config.system_instruction,
            log_samples=True,
            confirm_run_unsafe_code=True,  # refused in loading, unless asked for
        )
    assert found is not None
    signature = [f"task:{name}", f"version:{task.VERSION}", f"few-shot:{task.config.num_fewshot}"]
    signature += ["limit:None" if limit is None else f"limit:{limit} of {n_items} at random"]
    signature += [f"type:{task.OUTPUT_TYPE}", *how_asked(wrapped.tokenizer, config)]
    return scores(
        found.get("samples", {})[name],
        task.aggregation(),
        signature="|".join(["lm-eval", *signature]),
        cluster=loaded.clusters.get(name),
        generated_from=loaded.twins.get(name),
    )


def base_results(folder: Path, base: Base, config: EvaluationConfig, device: str) -> Results:
    """Return the base's results, measured once and cached under ``folder``.

    They are not cached while a task is missing, since it may be reachable the next time.
    """
    asked = [config.tasks, config.task_limit, config.num_fewshot, config.per_task]
    asked += [config.multiple_choice, config.apply_chat_template, config.fewshot_as_multiturn]
    asked += [config.system_instruction, how_asked(base.tokenizer, config)]
    local = contents(config.task_folder) if config.task_folder else []
    what = json.dumps([FORMAT, base.fingerprint, asked, local], sort_keys=True, default=str)
    path = folder / f"{hashlib.sha256(what.encode()).hexdigest()[:16]}.json"
    known = read_json(path)
    if known is not None:
        return Results.from_json(known)
    results = run_tasks(base.model, base.tokenizer, config, device)
    if not results.missing:
        write_json(path, results.to_json())
    return results
