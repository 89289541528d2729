"""The files a report leaves: whole, the same every time, safe to open, made without torch."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from scripts_of_a_page import without_scripts
from synthetic_run import PROFILES, Maker

from harness.errors import InputError
from harness.records import append_jsonl
from harness.report import main
from harness.reporting import build_report
from harness.reporting import formatting as f
from harness.reporting.formats.json_and_csv import cell
from harness.reporting.formats.markdown import escaped

FILES = ("index.html", "report.md", "leaderboard.csv", "report.json")
EVIL = "<script>alert(1)</script>"


class Tags(HTMLParser):
    """Every tag and attribute of a page, and whether tags close in order."""

    VOID = ("meta", "br", "img", "link", "use", "path", "rect", "hr", "input")

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def parsed(folder: Path) -> Tags:
    tags = Tags()
    tags.feed((folder / "index.html").read_text())
    assert tags.open == []
    return tags


def test_all_files_and_sections(report_folder):
    assert sorted(p.name for p in report_folder.iterdir()) == sorted(FILES)
    page = (report_folder / "index.html").read_text()
    for part in ("decision", "comparison", "methods", "measured"):
        assert f'<h2 id="{part}">' in page, part
        assert f'href="#{part}"' in page, part
    for section in ("why", "leaderboard", "rank", "curves", "search", "cost", "outputs",
                    "forgetting", "failures", "commands", "method"):  # fmt: skip
        assert f'<h3 id="{section}">' in page, section
    page = without_scripts(page)
    assert page.count("<svg") == 6 and page.count('role="img" aria-label="') == 6
    assert "python -m harness.trial" in page and "loss is NaN at step" in page
    report = json.loads((report_folder / "report.json").read_text())
    assert report["recommendation"]["chosen"] in {row["label"] for row in report["leaderboard"]}
    assert {row["tied"] for row in report["leaderboard"]} >= {"A"}
    assert report["recommendation"]["headline"] in page.replace("&#39;", "'")


def test_page_is_self_contained_and_well_formed(report_folder):
    tags = parsed(report_folder)
    page = (report_folder / "index.html").read_text()
    assert "default-src 'none'" in page
    assert not {"link", "iframe", "img", "object"} & set(tags.tags)
    for name, value in tags.attributes:
        if name in ("href", "xlink:href"):
            assert value and (value.startswith("#") or value in FILES), (name, value)
        assert name != "src"
        assert not name.startswith("on")
    assert "@import" not in page and "url(http" not in page
    ids = [value for name, value in tags.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for target in re.findall(r'(?:url\(#|href="#)([^")]+)', page):
        assert target in ids, target


def test_same_records_same_bytes(sweep_folder, report_folder, tmp_path):
    again = build_report(sweep_folder, tmp_path)
    for name in FILES:
        assert (again / name).read_bytes() == (report_folder / name).read_bytes(), name


def test_no_torch_and_a_light_package(sweep_folder, tmp_path):
    code = (
        "import sys, harness.reporting\n"
        "assert 'matplotlib' not in sys.modules and 'numpy' not in sys.modules\n"
        "from harness.report import main\n"
        f"assert main([{str(sweep_folder)!r}, '--reports-dir', {str(tmp_path)!r}]) == 0\n"
        "heavy = {'torch', 'transformers', 'optuna', 'hydra'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    root = Path(__file__).parents[2]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 10
    assert "Train it again: python -m harness.trial" in done.stdout
    assert f"with its card: python -m harness.export {sweep_folder}" in done.stdout
    page = (tmp_path / "demo" / "index.html").read_text()
    assert f"<code>python -m harness.export {sweep_folder}</code>" in page
    assert f"python -m harness.export {sweep_folder}\n" in (tmp_path / "demo/report.md").read_text()


def test_what_models_and_files_say_is_escaped(tmp_path):
    maker = Maker(tmp_path / "evil", n=20)
    profile = replace(PROFILES[1], method=f"$x^2$ {EVIL}".replace("/", ""))
    maker.references[0] = maker.prompts[0] = f"{EVIL} <img src=x onerror=alert(1)> | `x`"
    maker.sweep(methods=[profile.method], name=EVIL, command=f"python {EVIL}", model=EVIL)
    for seed in (101, 102):
        maker.trial(profile, seed, stage="confirm", seed=seed, outputs=[EVIL] * 20)
    maker.trial(profile, 1, status="failed", reason=f"{EVIL}\n| a | b |")
    maker.trial(profile, 2, size=16)
    folder = build_report(tmp_path / "evil", tmp_path / "reports")
    tags = parsed(folder)
    page = without_scripts((folder / "index.html").read_text())
    assert "img" not in tags.tags
    assert "<script" not in page.lower() and "&lt;script&gt;" in page
    prose = re.sub(r"```sh\n.*?\n```", "", (folder / "report.md").read_text(), flags=re.DOTALL)
    assert "<script" not in prose  # a command in a code block stays as it is typed
    rows = list(csv.reader(io.StringIO((folder / "leaderboard.csv").read_text())))
    assert len({len(row) for row in rows}) == 1


def test_csv_text_cannot_be_a_formula_and_numbers_stay(report_folder):
    assert cell("=1+1") == "'=1+1" and cell("@x") == "'@x" and cell("-x") == "'-x"
    assert cell(-1.5) == -1.5 and cell(None) is None
    rows = list(csv.DictReader(io.StringIO((report_folder / "leaderboard.csv").read_text())))
    assert len(rows) == 4
    assert all(float(row["test.bleu.low"]) < float(row["test.bleu"]) for row in rows)


@pytest.mark.parametrize("name", ["items.jsonl", "*.jsonl"])
def test_missing_files_leave_a_report(sweep_folder, tmp_path, name):
    shutil.copytree(sweep_folder, tmp_path / "run")
    for path in (tmp_path / "run").rglob(name):
        path.unlink()
    page = (build_report(tmp_path / "run", tmp_path) / "index.html").read_text()
    assert "Leader board" in page


def test_torn_and_odd_files_leave_a_report(sweep_folder, tmp_path):
    shutil.copytree(sweep_folder, tmp_path / "run")
    trials = sorted((tmp_path / "run" / "trials").glob("*/*"))
    (tmp_path / "run" / "sweep.yaml").write_text("methods: [lora\n")
    (trials[0] / "record.json").write_text('{"status": "comp')
    (trials[1] / "record.json").unlink()
    odd = [{"kind": "train", "step": None}, {"kind": "evaluation", "step": 3}, 7, {"kind": "train",
           "step": 4, "loss": float(10**9)}]  # fmt: skip
    odd.append({"kind": "evaluation", "step": 0, "measurements": {"validation.perplexity": 9e3}})
    for trial in trials[2:]:
        append_jsonl(trial / "metrics.jsonl", odd)
        append_jsonl(trial / "items.jsonl", [{"measurement": "test.bleu"}, [1], {"statistics": 3}])
        append_jsonl(trial / "predictions.jsonl", ["x", {"prompt": 1, "output": None}])
    (tmp_path / "run" / "trials" / "stray.txt").write_text("not a trial")
    folder = build_report(tmp_path / "run", tmp_path)
    report = json.loads((folder / "report.json").read_text())
    assert any("sweep.yaml" in line for line in report["recommendation"]["cautions"])
    assert any("no record" in line for line in report["recommendation"]["cautions"])
    assert "mathdefault" not in (folder / "index.html").read_text()  # powers of ten as numbers


def test_empty_sweep_and_failed_sweep_leave_a_report(tmp_path):
    (tmp_path / "none" / "trials").mkdir(parents=True)
    page = (build_report(tmp_path / "none", tmp_path) / "index.html").read_text()
    assert "No recommendation." in page and "No trial has finished yet." in page
    maker = Maker(tmp_path / "failed", n=10)
    maker.sweep()
    maker.trial(PROFILES[0], 0, status="failed", reason="no space left on device")
    page = (build_report(tmp_path / "failed", tmp_path) / "index.html").read_text()
    assert "no space left on device" in page


def test_wrong_folder_is_one_message_and_exit_code_2(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    assert main([str(tmp_path)]) == 2
    messages = capsys.readouterr().err.strip().splitlines()
    assert len(messages) == 2 and all("runs/NAME" in message for message in messages)
    with pytest.raises(InputError):
        build_report(tmp_path, tmp_path / "reports")


def test_numbers_are_written_in_one_way():
    assert f.with_interval("test.bleu", 48.83, 46.1, 51.2) == "48.8 [46.1, 51.2]"
    kl = f.with_interval("forgetting.kl", 0.0312, 0.027, 0.036, units=True)
    assert kl == "0.031 [0.027, 0.036] nats/token"
    assert f.score("forgetting.kl", 0.00123) == "0.0012"
    assert f.with_interval("forgetting.tasks", -0.05, -0.0813, -0.0187, sign=True) == (
        "−5.0 [−8.1, −1.9]"
    )
    assert f.score("test.bleu", None) == "–" and f.number(float("nan"), 1) == "–"
    assert f.number(-0.04, 1) == "0.0" and f.number(-0.06, 1) == "−0.1"
    assert f.settings({"method.r": 8, "training.learning_rate": 3e-4}) == "r=8, lr=3e-4"
    assert f.p_value(0.0004) == "< 0.001" and f.equals_p(0.31) == "p = 0.31"
    assert f.duration(41.2) == "41 s" and f.duration(7500) == "2.1 h"
    assert f.count(98304) == "98,304" and f.count(12_400_000) == "12.40 M"


def test_markdown_keeps_text_text():
    assert escaped("a|b <i> *c*\nd") == r"a\|b &lt;i&gt; \*c\* d"


def test_versions_outside_of_what_was_tested_are_said(sweep_folder, tmp_path):
    folder = tmp_path / "demo"
    shutil.copytree(sweep_folder, folder)
    for path in folder.glob("trials/*/*/record.json"):
        record = json.loads(path.read_text())
        record["provenance"]["untested_versions"] = ["peft 0.99.0 (tested: 0.21.2)"]
        path.write_text(json.dumps(record))
    markdown = (build_report(folder, tmp_path) / "report.md").read_text()
    assert "was not tested with: peft 0.99.0 (tested: 0.21.2)." in markdown
