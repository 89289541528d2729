"""examples/quickstart.ipynb: its cells run in order, with fewer steps.

``python tests/test_notebook.py`` runs it as it stands and writes what came out into it.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sweeping import SMALL, InProcessLauncher

NOTEBOOK = Path(__file__).parents[1] / "examples" / "quickstart.ipynb"
FEWER = {
    '"tracking=none"': ", ".join(map(repr, SMALL)),
    '"data.validation_limit=50",': "",
    '"data.test_limit=100",': "",
    '"data.general_limit=16",': "",
    '"evaluation.task_folder=null",': "",
    "search.trials=2": "search.trials=1",
    "confirm.seeds=2": "confirm.seeds=1",
    "training.max_steps=30": "training.max_steps=2",
}


def cells(notebook: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            yield cell, "".join(cell["source"])


def executed(source: str, names: dict[str, Any]) -> Any:
    """Run a cell and return the value of its last expression, as a notebook shows it."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if last is None:
        return None
    assert isinstance(last, ast.Expr)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def test_every_cell_runs(tmp_path, monkeypatch, pool):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.launch.local.LocalLauncher", InProcessLauncher)
    monkeypatch.setattr(InProcessLauncher, "pool", pool)
    names: dict[str, Any] = {}
    shown = []
    for _, source in cells(json.loads(NOTEBOOK.read_text(encoding="utf-8"))):
        for written, fewer in FEWER.items():
            source = source.replace(written, fewer)
        shown.append(executed(source, names))
    found, leaderboard, trials, comparisons, headline = shown
    assert headline == found.headline and headline in found._repr_markdown_().replace("\\", "")
    assert sorted(leaderboard["label"].str.split().str[0]) == ["full", "lora"]
    assert leaderboard["forgetting.kl"].notna().all()
    assert list(trials["stage"]).count("confirm") == 2 and len(trials) == 4
    assert len(comparisons) == 1
    assert found.page.is_file()


def run_whole() -> None:
    """Run the notebook in a folder of its own and write the outputs into it."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for count, (cell, source) in enumerate(cells(notebook), 1):
            with contextlib.redirect_stdout(io.StringIO()):
                value = executed(source, names)
            data = {"text/plain": repr(value).splitlines(True)}
            for kind in ("markdown", "html"):
                if hasattr(value, f"_repr_{kind}_"):
                    data[f"text/{kind}"] = getattr(value, f"_repr_{kind}_")().splitlines(True)
            cell["execution_count"] = count
            cell["outputs"] = [
                {
                    "output_type": "execute_result",
                    "execution_count": count,
                    "metadata": {},
                    "data": data,
                }
            ]
        os.chdir(before)
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_whole()
