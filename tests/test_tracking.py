"""The mirror, run for real and offline; what it wrote is read back from W&B's own files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from wandb.proto import wandb_internal_pb2

from harness.compose.command_line import compose_sweep
from harness.records import Measurement, Record, append_jsonl, write_json, write_record
from harness.tracking import Mirror, start_mirror
from harness.tracking.contents import curves, redact, run_id
from harness.tracking.mirroring import Mirroring
from harness.tracking.runs import ends_with_exit, raw_records

SECRET = "hf_doNotMirrorThis"


@pytest.fixture(scope="module")
def composed():
    return compose_sweep(["name=demo", "method=lora"])[0]


@pytest.fixture
def sweep(composed, tmp_path, monkeypatch):
    """Its folder is tmp_path/runs/demo; the user's own W&B is not in sight."""
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return replace(composed, runs_dir=str(tmp_path / "runs"))


@pytest.fixture
def folder(sweep) -> Path:
    folder = Path(sweep.runs_dir) / sweep.name
    add_trial(folder, 0, seed=0)
    add_trial(folder, 3, seed=0, status="diverged")
    add_trial(folder, 1, seed=1001, stage="confirm")
    return folder


def add_trial(folder: Path, number: int, seed: int, stage="search", status="complete") -> Path:
    fingerprint = f"{stage}{number}{seed}"
    trial = folder / "trials" / "lora" / fingerprint
    done = status == "complete"
    config = {
        "model": {"name": "https://me:pass@host/m", "hf_token": SECRET},
        "method": {"name": "lora", "r": 8, "num_virtual_tokens": 20},
        "evaluation": {"tokenize": "13a", "max_new_tokens": 64},
        "stage": stage,
        "seed": seed,
    }
    rows = [{"kind": "train", "step": s, "loss": 2.0 / s, "learning_rate": 1e-3} for s in (1, 2, 3)]
    watched = {"kind": "evaluation", "step": 2, "measurements": {"validation.perplexity": 9.0}}
    append_jsonl(trial / "metrics.jsonl", [*rows, watched])
    if done:
        answers = {"prompt": "p", "references": ["r", "s"], "output": "\u2028<script>", "base": "b"}
        append_jsonl(trial / "predictions.jsonl", [answers] * 60)
    bleu = Measurement(12.5, "score", 60, (10.0, 15.0), "bleu|13a")
    record = Record(
        status=status,
        stage=stage,
        method="lora",
        trial=number,
        attempt=1,
        fingerprint=fingerprint,
        configuration="c",
        seed=seed,
        config=config,
        overrides=["method=lora", f"model.hf_token={SECRET}"],
        measurements={"validation.bleu": bleu} if done else {},
        cost={"train_seconds": 3.5},
        reason=None if done else "the loss became nan at step 3",
    )
    write_json(trial / "spec.json", {**record.to_json(), "kind": "trial"})
    write_record(trial, record)
    return trial


@dataclass
class Mirrored:
    """One offline run, as the .wandb file has it."""

    run: Any
    config: dict[str, Any]
    history: dict[int, dict[str, Any]]
    summary: dict[str, Any]
    artifacts: dict[str, list[str]]
    raw: bytes


def mirrored(folder: Path) -> dict[str, Mirrored]:
    found = {}
    for file in folder.glob("wandb/offline-run-*/run-*.wandb"):
        whole = Mirrored(None, {}, {}, {}, {}, file.read_bytes())
        for raw in raw_records(file):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(raw)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                whole.run = record.run
                whole.config |= {u.key: json.loads(u.value_json) for u in record.run.config.update}
            elif kind == "history":
                point = {_key(item): json.loads(item.value_json) for item in record.history.item}
                whole.history[record.history.step.num] = point
            elif kind == "summary":
                updates = record.summary.update
                whole.summary |= {_key(item): json.loads(item.value_json) for item in updates}
            elif kind == "artifact":
                paths = [entry.path for entry in record.artifact.manifest.contents]
                whole.artifacts[record.artifact.type] = sorted(paths)
        found[whole.run.display_name] = whole
    return found


def _key(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Other tests share the machine: the end of a sweep waits for longer than it would."""
    monkeypatch.setattr("harness.tracking.mirror.FINISH_SECONDS", 90.0)


def run_folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("wandb/offline-run-*"))


def started(sweep: Any, folder: Path) -> Mirror:
    began = time.monotonic()
    mirror = start_mirror(sweep, folder)
    assert time.monotonic() - began < 3, "nothing is waited for, also on a busy machine"
    assert mirror is not None
    return mirror


def until(condition: Callable[[], Any], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_a_sweep_is_mirrored_offline_and_only_once(sweep, folder, tmp_path, capfd):
    report = tmp_path / "report"
    report.mkdir()
    for name in ("index.html", "report.md", "leaderboard.csv", "report.json"):
        (report / name).write_text(name)
    started(sweep, folder).finish(report)

    said = capfd.readouterr()
    assert said.out == (
        f"W&B: 4 offline runs; to upload them: wandb sync {folder}/wandb/offline-run-*\n"
    )
    assert said.err == ""
    runs = mirrored(folder)
    assert sorted(runs) == ["demo-report", "lora-000", "lora-003", "lora-confirm-001"]
    assert {name: run.run.job_type for name, run in runs.items()} == {
        "demo-report": "report",
        "lora-000": "search",
        "lora-003": "search",
        "lora-confirm-001": "confirm",
    }
    assert {run.run.run_group for run in runs.values()} == {"demo"}
    assert list(runs["lora-confirm-001"].run.tags) == ["lora", "confirm"]
    assert {run.run.project for run in runs.values()} == {"finetune-harness"}
    assert runs["lora-000"].run.run_id == run_id("demo", "search00")
    assert all(run.run.resume for run in runs.values())

    first = runs["lora-000"]
    assert first.config["model"] == {"name": "https://***@host/m", "hf_token": "(redacted)"}
    assert first.config["method"] == {"name": "lora", "r": 8, "num_virtual_tokens": 20}
    assert first.config["evaluation"] == {"tokenize": "13a", "max_new_tokens": 64}
    assert first.config["trial"]["overrides"][1] == "model.hf_token=(redacted)"
    for run in runs.values():
        assert SECRET.encode() not in run.raw
        assert run.run.host == "" and not run.run.HasField("git")

    assert [first.history[step]["train/loss"] for step in (1, 2, 3)] == [2.0, 1.0, 2.0 / 3]
    assert first.history[2]["validation/perplexity"] == 9.0
    assert first.history[3]["outputs._type"] == "table-file"
    assert first.history[3]["outputs.nrows"] == 50
    (table,) = folder.glob(f"wandb/offline-run-*-{first.run.run_id}/files/media/table/*.json")
    table = json.loads(table.read_text())
    assert table["columns"] == ["prompt", "references", "base", "output"]
    assert table["data"][0] == ["p", "r\ns", "b", "\u2028<script>"]

    own = {k: v for k, v in first.summary.items() if not k.startswith("_")}
    assert own["validation/bleu"] == 12.5
    assert own["cost/train_seconds"] == 3.5
    assert own["status"] == "complete"
    assert "validation/perplexity" not in own, "a curve's last point is no measurement"
    diverged = runs["lora-003"].summary
    assert diverged["status"] == "diverged" and "nan" in diverged["reason"]
    assert "validation/bleu" not in diverged
    assert runs["demo-report"].artifacts["report"] == [
        *("index.html", "leaderboard.csv", "report.json", "report.md")
    ]
    assert not [p for p in (tmp_path / "home").rglob("*") if p.is_file()]

    # A second process of the sweep: one more trial, and one that a killed mirror left half done.
    before = run_folders(folder)
    add_trial(folder, 4, seed=0)
    torn = folder / "wandb" / f"offline-run-20200101_000000-{run_id('demo', 'search40')}"
    torn.mkdir()
    started(sweep, folder).finish(report)
    new = [name for name in run_folders(folder) if name not in before]
    assert len(new) == 1 and new[0].endswith(run_id("demo", "search40"))
    assert not torn.exists()
    assert set(before) <= set(run_folders(folder))
    assert capfd.readouterr().err == ""


def test_none_starts_nothing(sweep, folder, monkeypatch):
    none = replace(sweep, tracking=replace(sweep.tracking, name="none"))
    assert start_mirror(none, folder) is None
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert start_mirror(sweep, folder) is None
    assert not (folder / "workers").exists() and not (folder / "wandb").exists()


def broken_package(code, tmp_path, monkeypatch):
    """A wandb that comes before the real one, in the mirror's process."""
    package = tmp_path / "broken" / "wandb"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", f"{package.parent}{os.pathsep}{Path.cwd()}")


@pytest.mark.parametrize("fault", ["no wandb", "unwritable", "no log", "killed", "crash"])
def test_a_fault_is_one_line(fault, sweep, folder, tmp_path, monkeypatch, capfd):
    if fault == "no wandb":
        broken_package("raise ImportError('its library is missing')", tmp_path, monkeypatch)
    elif fault == "unwritable":
        (folder / "wandb").write_text("a file where a folder should be")
    elif fault == "no log":
        (folder / "workers").write_text("a file where a folder should be")
    elif fault == "crash":
        broken_package("import os; os._exit(7)", tmp_path, monkeypatch)
    mirror = started(sweep, folder)
    if fault == "killed":
        assert mirror.process is not None
        os.kill(mirror.process.pid, signal.SIGKILL)
    mirror.finish(tmp_path / "nowhere")
    said = capfd.readouterr()
    if fault == "no log":  # costs the log alone
        assert said.err == "" and len(run_folders(folder)) == 3
        return
    assert said.err.startswith("Warning: W&B: ") and said.err.count("\n") == 1, said.err
    assert said.out == ""
    expected = {
        "no wandb": "its library is missing",
        "unwritable": "File exists",
        "killed": "exit code -9",
        "crash": "exit code 7",
    }
    assert expected[fault] in said.err


def test_a_trial_that_cannot_be_read_costs_only_itself(sweep, folder, capfd):
    (folder / "trials" / "lora" / "search00" / "record.json").write_text('{"status": "odd"}')
    started(sweep, folder).finish()
    said = capfd.readouterr()
    assert "1 not mirrored: search00: " in said.err and said.err.count("\n") == 1
    assert "2 offline runs" in said.out


class Other(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def other_server():
    """Answers, but is none of W&B's."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize(
    ("key", "server", "why"),
    [
        ("", "refused", "no API key is set"),
        ("k" * 40, "refused", "http://127.0.0.1:9 does not answer"),
        ("k" * 40, "other", "offline from lora-confirm-001 on"),
    ],
    ids=["no key", "refused", "another server"],
)
def test_online_falls_back_to_offline(
    key, server, why, other_server, sweep, folder, monkeypatch, capfd
):
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv(
        "WANDB_BASE_URL", other_server if server == "other" else "http://127.0.0.1:9"
    )
    online = replace(sweep, tracking=replace(sweep.tracking, mode="online"))
    began = time.monotonic()
    started(online, folder).finish()
    assert time.monotonic() - began < 60  # W&B itself waits for 90 s
    said = capfd.readouterr()
    assert why in said.err and said.err.count("\n") == 1 and "kkkk" not in said.err
    assert "3 offline runs" in said.out
    assert len(mirrored(folder)) == 3


def test_a_killed_sweep_takes_its_mirror_with_it(sweep, folder):
    code = """
import sys, time, harness.compose.command_line, harness.tracking
sweep = harness.compose.command_line.compose_sweep(["name=demo", f"runs_dir={sys.argv[1]}"])[0]
print(harness.tracking.start_mirror(sweep, sys.argv[2]).process.pid, flush=True)
time.sleep(60)
"""
    command = [sys.executable, "-c", code, sweep.runs_dir, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        mirror = int(driver.stdout.readline())
        assert until(lambda: len(run_folders(folder)) == 3, 15), "trials are mirrored as they end"
        driver.kill()
    assert until(lambda: not _runs(mirror), 8)


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


class FakeRuns:
    """In the place of WandbRuns: what a live run would be told."""

    online = True

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.said: list[Any] = []
        self.url = "https://host/entity/project/runs/id"

    def open(self, heading: Any) -> FakeRuns:
        self.said.append(("open", heading.id, heading.name))
        return self

    def log(self, points: Any) -> None:
        self.said.append(("log", [step for step, _ in points]))

    def table(self, name: str, rows: Any) -> None:
        self.said.append(("table", len(rows)))

    def finish(self, summary: Any = None, failed: bool = False) -> None:
        self.said.append(("finish", (summary or {}).get("status"), failed))


def test_online_curves_grow_while_a_trial_runs(tmp_path):
    trial = add_trial(tmp_path, 7, seed=0)
    record = (trial / "record.json").read_bytes()
    (trial / "record.json").unlink()
    runs = FakeRuns()
    mirroring = Mirroring(tmp_path, Namespace(mode="online", sweep="demo"), _runs=runs)
    mirroring.begin()
    mirroring.scan()
    mirroring.scan()
    (trial / "record.json").write_bytes(record)
    mirroring.scan()
    mirroring.scan()
    assert runs.said == [
        ("open", run_id("demo", "search70"), "lora-007"),
        ("log", [1, 2]),  # step 3 may get an evaluation yet
        ("log", [1, 2]),
        ("log", [1, 2, 3]),  # a Run passes over the steps that it has
        ("table", 50),
        ("finish", "complete", False),
    ]
    assert mirroring.failures == {}
    assert mirroring.answer() == {
        "offline": 0,
        "online": 1,
        "url": "https://host/entity/project",
        "warnings": [],
    }


def test_a_repeated_step_counts_once_and_broken_rows_not_at_all():
    rows = [{"step": 2, "loss": 1.0}, {"step": 1, "loss": 3.0}, {"step": 2, "loss": 0.5}]
    assert curves([*rows, {"loss": 1.0}, 7, {"step": 3, "loss": float("nan")}]) == [
        (1, {"train/loss": 3.0}),
        (2, {"train/loss": 0.5}),
    ]


@pytest.mark.parametrize(
    ("key", "is_secret"),
    [
        *((key, True) for key in ("token", "hf_token", "apiKey", "API_KEY", "passwords", "secret")),
        *((key, False) for key in ("tokenize", "tokenizer", "keyword", "name", "secretary")),
    ],
)
def test_redaction_goes_by_the_words_of_a_key(key, is_secret):
    assert redact({key: "v"}) == {key: "(redacted)" if is_secret else "v"}
    assert redact({key: 7}) == {key: 7}
    assert redact({key: ["v"]}) == {key: ["(redacted)" if is_secret else "v"]}


def test_a_run_that_was_cut_off_is_seen(sweep, folder):
    started(sweep, folder).finish()
    file = next(folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert ends_with_exit(file)
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    assert not ends_with_exit(file)
    file.write_bytes(whole[:7])
    assert not ends_with_exit(file)
