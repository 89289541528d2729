"""Checks that model, data and tasks exist and are readable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from harness.config import ModelConfig
from harness.doctor.finding import OK, WARN, Line, Setup, first_line, within
from harness.errors import InputError

NETWORK_SECONDS = 5.0
DATA_SECONDS = 60.0  # for a data set on the hub, which may have to be downloaded


def check_model(setup: Setup) -> Iterator[Line]:
    from harness.models import load

    config = setup.first.model
    load.check_model(config)
    path = Path(load.model_path(config))
    if config.name in ("builtin", "builtin_chat"):
        yield Line("model", OK, _generates_a_token(config, setup.device))
        return
    if not path.is_dir():
        found = _on_hub(config.name, config.revision)
        yield Line(
            "model", WARN if found.startswith("downloaded") else OK, f"{config.name}: {found}"
        )
        return
    from safetensors import safe_open

    n_bytes, n_tensors = 0, 0
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(str(file), "pt") as tensors:  # reads the header, which reveals a torn file
            n_tensors += len(list(tensors.keys()))
        n_bytes += file.stat().st_size
    parameters = sum(p.numel() for p in load.load_skeleton(config).parameters())
    vocabulary = len(load.load_tokenizer(config))
    fact = (
        f"{config.name}: {parameters:,} parameters, {n_tensors} tensors in {n_bytes / 1e6:,.1f} MB"
    )
    yield Line("model", OK, f"{fact} of safetensors, tokenizer with {vocabulary:,} entries")


def _generates_a_token(config: ModelConfig, device: str) -> str:
    from harness.models.cached.continuing import continued
    from harness.models.load import load_base

    base = load_base(config, None, device)
    inputs = base.tokenizer("The mill", return_tensors="pt").to(device)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    made = continued(base.model, ids, mask, max_new_tokens=1, min_new_tokens=1)
    token = base.tokenizer.decode(made[0, ids.shape[1] :])
    parameters = sum(p.numel() for p in base.model.parameters())
    return f"{config.name}: {parameters:,} parameters, loads, generates {token!r} after 'The mill'"


def _on_hub(name: str, revision: str | None) -> str:
    """Raises InputError if it is neither cached nor found on the hub within a few seconds."""
    import huggingface_hub
    from huggingface_hub.utils import HfHubHTTPError

    kinds = ["*.safetensors", "*.json"]
    try:
        cached = Path(
            huggingface_hub.snapshot_download(
                name, revision=revision, local_files_only=True, allow_patterns=kinds
            )
        )
        if (cached / "config.json").is_file() and list(cached.glob("*.safetensors")):
            return "in the local cache"
    except (OSError, ValueError):  # missing, or not a name
        pass

    def ask() -> Any:
        hub = huggingface_hub.HfApi()
        return hub.model_info(name, revision=revision, timeout=NETWORK_SECONDS)

    try:
        files = [file.rfilename for file in within(NETWORK_SECONDS, ask).siblings or []]
    except HfHubHTTPError as error:
        raise InputError(
            f"model.name={name!r} is not in the cache, and the hub refuses it: {first_line(error)}"
        ) from error
    except Exception as error:
        raise InputError(
            f"model.name={name!r} is not in the cache, and the hub does not answer "
            f"({first_line(error)})"
        ) from error
    if not any(file.endswith(".safetensors") for file in files):
        raise InputError(f"model.name={name!r} has no *.safetensors file; others are not read.")
    return "downloaded at the first use (on the hub, with safetensors)"


def check_data(setup: Setup) -> Iterator[Line]:
    from harness.compose.objectives import check_general, that_tell
    from harness.data.rows.splits import read_splits

    config = setup.first.data
    seconds = DATA_SECONDS if config.source == "hub" else None
    splits = within(seconds, lambda: read_splits(config))
    sizes = {
        "train": len(splits.train),
        "validation": len(splits.validation),
        "test": len(splits.test),
    }
    rows = ", ".join(f"{size:,} {name}" for name, size in sizes.items())
    yield Line("data", OK, f"{config.name or config.train or config.source}: {rows}")
    for name, count in splits.counts.items():
        if count and name.endswith(
            ("_without_answer", "_in_train", "_in_validation", "_rows", "_lines", "_marks", "_ends")
        ):
            yield Line("data", WARN, f"{name.replace('_', ' ')}: {count:,}")
    domains = ", ".join(f"{name} {len(texts)}" for name, texts in splits.general.items())
    n = splits.counts["general_documents"], splits.counts["general_test_documents"]
    if domains:
        yield Line(
            "general text", OK, f"documents: {domains}; {n[0]} to search by, {n[1]} for finalists"
        )
    objectives = that_tell(setup.sweep, setup.first, splits, setup.default_objectives)
    for name in setup.sweep.objectives.keys() - objectives.keys():
        instead = next(iter(objectives))
        yield Line(
            "objectives", WARN, f"{name} cannot tell right from wrong here: {instead} instead"
        )
    check_general(objectives, setup.sweep.limits.forgetting, splits.general)
    if not domains:
        yield Line("general text", WARN, "data.general is not set: forgetting is not measured")
    if splits.replay:
        whence = " dealt from data.general" * (config.replay == config.general != "builtin")
        yield Line(
            "replay", OK, f"{len(splits.replay):,} documents{whence}, none of them measured on"
        )


def check_metrics(setup: Setup) -> Iterator[Line]:
    """Check what the metrics need of this machine. References are checked when a trial starts."""
    from harness.config.metrics import JUDGE, is_external
    from harness.evaluation.answers import configured
    from harness.evaluation.answers.external import check_external

    config = setup.first.evaluation
    configured.check_answers([], config)
    yield Line("metrics", OK, ", ".join(config.metrics) or "none of answers")
    for metric in filter(is_external, config.metrics):
        check_external(metric)
        yield Line("metrics", OK, f"{metric}: loads")
    if JUDGE in config.metrics:
        judge = config.judge
        yield Line("metrics", OK, f"judge: {judge.model} at {judge.endpoint}, not asked here")


def check_tasks(setup: Setup) -> Iterator[Line]:
    from harness.evaluation.benchmarks import folder_tasks

    evaluation = setup.first.evaluation
    if evaluation.task_folder:
        tasks = folder_tasks(evaluation.task_folder)
        files = [task.get("dataset_kwargs", {}).get("data_files") or {} for task in tasks]
        named = [Path(path) for of in files if isinstance(of, dict) for path in _paths(of.values())]
        missing = [str(path) for path in named if not path.is_file()]
        if missing:
            raise InputError(f"evaluation.task_folder: {', '.join(missing)} does not exist.")
        yield Line(
            "tasks", OK, f"{evaluation.task_folder}: " + ", ".join(str(t["task"]) for t in tasks)
        )
    if evaluation.tasks:
        yield Line(
            "tasks", OK, f"{', '.join(evaluation.tasks)}: looked up by lm-eval when a trial runs"
        )
    if not evaluation.task_folder and not evaluation.tasks:
        yield Line("tasks", OK, "none configured")


def _paths(named: Iterable[Any]) -> list[str]:
    """Return the paths of a split, which names one or several."""
    return [path for one in named for path in ([one] if isinstance(one, str) else one)]
