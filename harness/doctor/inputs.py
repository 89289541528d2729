"""Checks that model, data, metrics and tasks exist and can be used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from harness.config import ModelConfig
from harness.doctor.finding import LONGEST, OK, WARN, Finding, Setup, within
from harness.errors import InputError, first_line

NETWORK_SECONDS = 5.0
DATA_SECONDS = 60.0  # limit for a data set on the hub, which may have to be downloaded


def check_model(setup: Setup) -> Iterator[Finding]:
    """Check the model.

    A built-in model generates a token. The files of a local model are opened. A hub model is looked
    up. Then comes what its card says. Raises InputError if it cannot be used.
    """
    from harness.models.loading import location
    from harness.models.loading.base_card import UNKNOWN, describe_base, fetch_base_card

    config = setup.first.model
    location.check_model(config)
    yield from _usable_model(config, setup.device)
    fetch_base_card(config)
    card = describe_base(config)
    if card is None:
        yield Finding("licence", WARN, "unknown, as are languages, data and biases: no model card")
    for name, text in (card or {}).items():
        yield Finding(_ON_THE_CARD[name], WARN if text == UNKNOWN else OK, text[:LONGEST])


_ON_THE_CARD = {
    "licence": "licence",
    "languages": "languages",
    "training data": "pretraining",
    "biases and limitations": "biases",
}


def _usable_model(config: ModelConfig, device: str) -> Iterator[Finding]:
    from harness.models.load import load_tokenizer
    from harness.models.loading import location
    from harness.models.loading.skeleton import load_skeleton

    path = Path(location.model_path(config))
    if config.name in ("builtin", "builtin_chat"):
        yield Finding("model", OK, _generate_token(config, device))
        return
    if not path.is_dir():
        found = _on_hub(config.name, config.revision)
        yield Finding(
            "model", WARN if found.startswith("downloaded") else OK, f"{config.name}: {found}"
        )
        return
    from safetensors import safe_open

    n_bytes, n_tensors = 0, 0
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(
            str(file), "pt"
        ) as tensors:  # reads the header, which fails for a truncated file
            n_tensors += len(list(tensors.keys()))
        n_bytes += file.stat().st_size
    parameters = sum(p.numel() for p in load_skeleton(config).parameters())
    vocabulary = len(load_tokenizer(config))
    fact = (
        f"{config.name}: {parameters:,} parameters, {n_tensors} tensors in {n_bytes / 1e6:,.1f} MB"
    )
    yield Finding("model", OK, f"{fact} of safetensors, tokenizer with {vocabulary:,} entries")


def _generate_token(config: ModelConfig, device: str) -> str:
    """Load a built-in model, generate a token, and describe the result."""
    from harness.models.cached.continuing import continued
    from harness.models.load import load_base

    base = load_base(config, None, device)
    inputs = base.tokenizer("The mill", return_tensors="pt").to(device)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    generated = continued(base.model, ids, mask, max_new_tokens=1, min_new_tokens=1)
    token = base.tokenizer.decode(generated[0, ids.shape[1] :])
    parameters = sum(p.numel() for p in base.model.parameters())
    return f"{config.name}: {parameters:,} parameters, loads, generates {token!r} after 'The mill'"


def _on_hub(name: str, revision: str | None) -> str:
    """Describe where a hub model is.

    Raises InputError if it is neither in the cache nor found on the hub within ``NETWORK_SECONDS``.
    """
    import huggingface_hub
    from huggingface_hub.utils import HfHubHTTPError

    patterns = ["*.safetensors", "*.json"]
    try:
        cached = Path(
            huggingface_hub.snapshot_download(
                name, revision=revision, local_files_only=True, allow_patterns=patterns
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
            f"model.name={name!r} is not in the cache, and the hub refuses it: "
            f"{first_line(error)[:LONGEST]}"
        ) from error
    except Exception as error:
        raise InputError(
            f"model.name={name!r} is not in the cache, and the hub does not answer "
            f"({first_line(error)[:LONGEST]})"
        ) from error
    if not any(file.endswith(".safetensors") for file in files):
        raise InputError(f"model.name={name!r} has no *.safetensors file; others are not read.")
    return "downloaded at the first use (on the hub, with safetensors)"


def check_data(setup: Setup) -> Iterator[Finding]:
    """Read the data and report sizes, irregularities and objectives. Raises InputError."""
    from harness.compose.objectives import check_general, that_tell
    from harness.data.rows.files.web_pages import describe_pages
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
    yield Finding("data", OK, f"{config.name or config.train or config.source}: {rows}")
    pages = describe_pages(config)
    if pages is not None:
        yield Finding("web pages", OK, pages.removeprefix("Web pages: "))
    for name, count in splits.counts.items():
        if count and name.endswith(
            ("_without_answer", "_in_train", "_in_validation", "_rows", "_lines", "_marks", "_ends")
        ):
            yield Finding("data", WARN, f"{name.replace('_', ' ')}: {count:,}")
    domains = ", ".join(f"{name} {len(texts)}" for name, texts in splits.general.items())
    n = splits.counts["general_documents"], splits.counts["general_test_documents"]
    if domains:
        yield Finding(
            "general text", OK, f"documents: {domains}; {n[0]} for the search, {n[1]} for finalists"
        )
    objectives = that_tell(setup.sweep, setup.first, splits, setup.default_objectives)
    for name in setup.sweep.objectives.keys() - objectives.keys():
        instead = next(iter(objectives))
        yield Finding(
            "objectives", WARN, f"{name} cannot distinguish answers here: {instead} is used"
        )
    check_general(objectives, setup.sweep.limits.forgetting, splits.general)
    if not domains:
        yield Finding("general text", WARN, "data.general is not set: forgetting is not measured")
    if splits.replay:
        origin = " dealt from data.general" * (config.replay == config.general != "builtin")
        yield Finding(
            "replay", OK, f"{len(splits.replay):,} documents{origin}, none of them used to measure"
        )


def check_metrics(setup: Setup) -> Iterator[Finding]:
    """Check that this machine can compute the configured metrics.

    References are checked when a trial starts.
    """
    from harness.config.metrics import JUDGE, is_external
    from harness.evaluation.answers import configured
    from harness.evaluation.answers.external import check_external

    config = setup.first.evaluation
    configured.check_answers([], config)
    yield Finding("metrics", OK, ", ".join(config.metrics) or "none of answers")
    for metric in filter(is_external, config.metrics):
        check_external(metric)
        yield Finding("metrics", OK, f"{metric}: loads")
    if JUDGE in config.metrics:
        judge = config.judge
        yield Finding("metrics", OK, f"judge: {judge.model} at {judge.endpoint}, not asked here")


def check_tasks(setup: Setup) -> Iterator[Finding]:
    """Check files and names of lm-eval tasks. Raises InputError for a missing file."""
    from harness.evaluation.benchmarks import folder_tasks

    evaluation = setup.first.evaluation
    if evaluation.task_folder:
        tasks = folder_tasks(evaluation.task_folder)
        files = [task.get("dataset_kwargs", {}).get("data_files") or {} for task in tasks]
        paths = [
            Path(path)
            for splits in files
            if isinstance(splits, dict)
            for path in _paths(splits.values())
        ]
        missing = [str(path) for path in paths if not path.is_file()]
        if missing:
            raise InputError(f"evaluation.task_folder: {', '.join(missing)} does not exist.")
        yield Finding(
            "tasks", OK, f"{evaluation.task_folder}: " + ", ".join(str(t["task"]) for t in tasks)
        )
    if evaluation.tasks:
        yield Finding(
            "tasks", OK, f"{', '.join(evaluation.tasks)}: looked up by lm-eval when a trial runs"
        )
    if not evaluation.task_folder and not evaluation.tasks:
        yield Finding("tasks", OK, "none configured")


def _paths(values: Iterable[Any]) -> list[str]:
    """Return all paths in values that hold one path or several."""
    return [path for value in values for path in ([value] if isinstance(value, str) else value)]
