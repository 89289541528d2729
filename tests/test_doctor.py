"""The doctor as a person runs it. Each run imports torch, so there are few and each asks much."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time

import pytest
from own_lines import without_phases

from harness.doctor import main
from harness.doctor.finding import within


def doctor(*overrides: str, **environment: str) -> tuple[int, dict[str, tuple[str, str]], str]:
    """(exit code, {what: (status, fact)}, standard error)."""
    done = subprocess.run(
        [sys.executable, "-m", "harness.doctor", *overrides],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **environment},
    )
    return done.returncode, lines_of(done.stdout), without_phases(done.stderr)


def lines_of(printed: str) -> dict[str, tuple[str, str]]:
    spaced = printed.replace("general text", "general-text")
    lines = [line.split(maxsplit=2) for line in spaced.partition("\n\n")[0].splitlines()]
    return {what: (status, fact) for what, status, fact in lines}


def test_the_built_in_configuration_runs_here(tmp_path):
    runs = tmp_path / "not" / "yet"
    key = "1234567890123456789012345678901234567890"
    code, lines, error = doctor(f"runs_dir={runs}", "method=lora,qlora", WANDB_API_KEY=key)
    assert (code, error) == (0, "")
    assert list(lines) == [
        *("python", "packages", "versions", "cpu", "disk", "gpu"),
        *("nf4", "fp4", "int8", "adamw_8bit", "paged_adamw_8bit"),
        *("model", "licence", "languages", "pretraining", "biases"),
        *("data", "general-text", "replay", "metrics", "tasks", "storage"),
        *("tracking", "launcher"),
    ]
    assert not [what for what, (status, _) in lines.items() if status == "FAIL"]
    for kind in ("nf4", "fp4", "int8"):
        assert "forward and backward run on cpu" in lines[kind][1]
    assert "state is unpaged" in lines["paged_adamw_8bit"][1]
    assert "generates" in lines["model"][1]
    assert "1,000 train, 100 validation, 200 test" in lines["data"][1]
    assert "a key is set" in lines["tracking"][1] and key not in str(lines)
    assert not runs.parent.exists(), "the doctor leaves nothing behind"


@pytest.fixture
def loud():
    """The doctor silences its process; this one goes on afterwards."""
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("loud")
@pytest.mark.filterwarnings("default")  # and is given back what it was told to ignore
def test_everything_that_is_needed_and_missing_fails_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        monkeypatch.setenv(name, "5")  # would otherwise be set for good
    code = main(
        [
            "model=hub",
            f"model.name={tmp_path}/no-model",
            "data=jsonl",
            "data.train=no-rows.jsonl",
            "training.precision=fp16",
            f"evaluation.task_folder={tmp_path}",
            "tracking.mode=online",
            "method=lora",
        ]
    )
    lines = lines_of(capsys.readouterr().out)
    assert code == 1
    failed = {what: fact for what, (status, fact) in lines.items() if status == "FAIL"}
    assert set(failed) == {"precision", "model", "data", "tasks"}
    assert "this folder does not exist" in failed["model"]
    assert "no-rows.jsonl does not exist" in failed["data"]
    status, fact = lines["tracking"]
    assert status == "warn" and "no API key is set" in fact, "a mirror is not needed"


def test_a_hub_that_does_not_answer_is_no_reason_to_wait(tmp_path):
    began = time.monotonic()
    code, lines, _ = doctor(
        *("model=hub", "model.name=nobody/nothing", "tracking=none"),
        HF_ENDPOINT="http://127.0.0.1:9",
        HF_HOME=str(tmp_path),
    )
    assert code == 1 and time.monotonic() - began < 60
    assert lines["model"][0] == "FAIL"
    assert "is not in the cache, and the hub does not answer" in lines["model"][1]
    assert lines["tracking"] == ("ok", "none")


def test_wrong_overrides_are_answered_before_anything_is_imported():
    code, lines, error = doctor("modle=builtin")
    assert (code, lines) == (2, {})
    assert "Did you mean model" in error and "Traceback" not in error


def test_help():
    done = subprocess.run(
        [sys.executable, "-m", "harness.doctor", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "exit codes: 0" in done.stdout


def test_within_gives_up_on_time_and_hands_on_what_was_raised():
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no answer in 0\.1 s"):
        within(0.1, lambda: time.sleep(5))
    assert time.monotonic() - began < 2
    with pytest.raises(KeyError):
        within(5, lambda: {}["x"])
    assert within(5, lambda: 7) == within(None, lambda: 7) == 7
