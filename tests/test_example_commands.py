"""The commands in examples/ run as their pages print them, with fewer steps and shorter answers."""

from __future__ import annotations

import json
import re
import shlex
import signal
from pathlib import Path
from shutil import which

import pytest

from harness import trial
from harness.compose.command_line import compose_sweep
from harness.data.rows.splits import read_splits
from harness.launch.choose import check_launcher

EXAMPLES = Path(__file__).parents[1] / "examples"
FEWER = {
    "training.max_steps": "2",
    "training.warmup_steps": "0",
    "training.batch_size": "4",
    "data.general_limit": "2",
    "data.validation_limit": "2",
    "evaluation.max_new_tokens": "4",
    "evaluation.probe_tokens": "4",
    "evaluation.bootstrap_resamples": "100",
    "evaluation.watched_examples": "2",
}
OF_SWEEPS = ("search.", "confirm.", "tracking", "launcher")


def typed(example: str, command: str) -> list[str]:
    """Return the arguments of the page's one command of this kind, as a shell hands them over."""
    text = (EXAMPLES / example / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = re.findall(rf"^harness {command} (.+)$", text, re.MULTILINE)
    return shlex.split(line)


@pytest.fixture
def handlers():
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("example", "measured"),
    [
        ("question_answering", {"validation.bleu", "forgetting.kl"}),
        ("classification", {"validation.accuracy", "forgetting.kl"}),
        ("chat", {"validation.bleu", "drift.kl_target"}),
        ("web_pages", {"validation.perplexity", "probes.recalled"}),
    ],
)
def test_its_command_ends_with_a_complete_record(
    example, measured, tmp_path, monkeypatch, handlers
):
    monkeypatch.chdir(EXAMPLES / example)
    if example == "question_answering":  # a trial of the first method, on the sweep's data
        words = [word for word in typed(example, "sweep") if not word.startswith(OF_SWEEPS)]
        words[0] = "method=lora"
    else:
        words = typed(example, "trial")
    values = dict(word.split("=", 1) for word in words) | FEWER | {"runs_dir": str(tmp_path)}
    assert trial.main([f"{key}={value}" for key, value in values.items()]) == 0
    (record,) = tmp_path.glob("*/trials/*/*/record.json")
    found = json.loads(record.read_text(encoding="utf-8"))
    assert found["status"] == "complete"
    assert measured <= found["measurements"].keys()


@pytest.mark.parametrize("example", ["question_answering", "slurm"])
def test_its_sweep_is_composed_and_its_data_are_read(example, monkeypatch):
    monkeypatch.chdir(EXAMPLES / example)
    sweep, plans = compose_sweep(typed(example, "sweep"))
    assert [plan.method for plan in plans] == ["lora", "full"]
    assert sweep.launcher.name == ("slurm" if example == "slurm" else "local")
    splits = read_splits(plans[0].trial({}).data)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (20, 8, 12)
    assert sum(map(len, splits.general.values())) == 8


@pytest.mark.skipif(which("sinfo") is None, reason="no SLURM on this machine")
def test_slurm_takes_its_launcher(monkeypatch):
    monkeypatch.chdir(EXAMPLES / "slurm")
    check_launcher(compose_sweep(typed("slurm", "sweep"))[0].launcher)


def test_every_example_is_listed():
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    folders = [path.name for path in EXAMPLES.iterdir() if (path / "README.md").exists()]
    assert len(folders) == 5
    assert not [name for name in folders if f"({name}/README.md)" not in listed]
