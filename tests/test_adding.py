"""docs/adding_a_*.md: a copy of the package, with the code of the three pages put in, runs a sweep."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from sweeping import SMALL

from harness.records import read_record

ROOT = Path(__file__).parents[1]
LINES = {  # page → the table that its line or entry belongs in, and how that begins
    "method": ("harness/methods/__init__.py", "METHODS: dict[str, type[Method]] = {\n"),
    "metric": (
        "harness/statistics/measurements/of_answers.py",
        "dict[str, MetricDefinition] = {\n",
    ),
    "launcher": ("harness/launch/choose.py", "LAUNCHERS: dict[str, str] = {\n"),
}


def follow(page: Path, root: Path, table: str, begins: str) -> None:
    """Do in ``root`` what ``page`` says: write its files, and put its line into ``table``."""
    text = page.read_text(encoding="utf-8")
    files = re.findall(r"^`(\S+)`:\n\n```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert files
    for name, content in files:
        assert not (root / name).exists()
        (root / name).write_text(content, encoding="utf-8")
    (line,) = re.findall(r"^```python\n(    .*?)^```", text, re.MULTILINE | re.DOTALL)
    source = (root / table).read_text(encoding="utf-8")
    assert source.count(begins) == 1
    source = source.replace(begins, begins + line)
    if table.endswith("__init__.py"):  # the class is imported there
        module = files[0][0].removesuffix(".py").replace("/", ".")
        imported = f"from {module} import {line.split()[-1].rstrip(',')}\n"
        source = source.replace(
            "\nfrom harness.methods.base", f"\n{imported}from harness.methods.base"
        )
    (root / table).write_text(source, encoding="utf-8")


def test_a_method_a_metric_and_a_launcher_are_added_as_the_pages_say(tmp_path):
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("harness", "conf"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    for page, (table, begins) in LINES.items():
        follow(ROOT / "docs" / f"adding_a_{page}.md", tmp_path, table, begins)
    command = [sys.executable, "-m", "harness.sweep", *SMALL]
    command += ["method=last_layers", "evaluation.metrics=[contains]", "launcher=thread"]
    command += ["objectives={contains: maximize, forgetting.kl: minimize}", "name=added"]
    command += ["search.trials=1", "confirm.finalists=0", "training.max_steps=2"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "TORCHDYNAMO_DISABLE": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "runs" / "added" / "trials" / "last_layers").iterdir()
    record = read_record(folder)
    assert record is not None and record.status == "complete"
    assert record.config["method"]["name"] == "last_layers"
    assert 0 < record.cost["trainable_parameters"] < record.cost["total_parameters"]
    contains = record.measurements["validation.contains"]
    assert (contains.unit, contains.n) == ("percent of answers", 4)
    assert not list((tmp_path / "runs" / "added").glob("workers/*.log"))  # of the local launcher
    assert "contains, %" in (tmp_path / "reports" / "added" / "report.md").read_text("utf-8")
