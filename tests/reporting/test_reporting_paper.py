"""Tables and figures for a paper: LaTeX that compiles by its structure, figures in three forms."""

from __future__ import annotations

import re

import pandas
import pytest

from harness.reporting import build_report
from harness.reporting.formats.paper import escaped, latex
from harness.reporting.read import read_report
from harness.reporting.table import Cell, Table


@pytest.fixture(scope="module")
def paper(sweep_folder, tmp_path_factory):
    return build_report(sweep_folder, tmp_path_factory.mktemp("reports"), paper=True) / "paper"


def test_what_a_method_is_called_is_text():
    assert escaped(r"a_b & 5 % \input{x} $y$") == (r"a\_b \& 5 \% \textbackslash{}input\{x\} \$y\$")


def test_a_table_has_as_many_columns_as_it_declares():
    rows = ((Cell("full"), Cell("70.1", "number")), (Cell("a&b"), Cell("–", "number")))
    text = latex(Table(("method", "BLEU"), rows, "Means.", marked=0), "board", "s")
    assert r"\begin{tabular}{lr}" in text and r"\textbf{full} & \textbf{70.1} \\" in text
    assert r"a\&b & -- \\" in text and r"\caption{s: Means.}" in text


def test_tables_and_figures_of_a_sweep(paper):
    for file in paper.glob("*.tex"):
        text = file.read_text("utf-8")
        columns = len(re.search(r"tabular\}\{([lr]+)\}", text)[1])
        body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert rows and all(len(re.findall(r"(?<!\\)&", row)) == columns - 1 for row in rows), file
        assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    svg = (paper / "front.svg").read_text("utf-8")
    assert "var(--" not in svg and svg.startswith("<svg")
    assert (paper / "front.pdf").read_bytes().startswith(b"%PDF")
    assert (paper / "front.png").read_bytes().startswith(b"\x89PNG")


def test_parquet_holds_the_leaderboard(paper):
    found = pandas.read_parquet(paper / "leaderboard.parquet")
    board = read_report(paper.parent).leaderboard()
    assert list(found["label"]) == list(board["label"])
    assert found["forgetting.kl"].tolist() == board["forgetting.kl"].tolist()
