"""Every sentence that the code hands to the catalogue, read from the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from jinja2 import Environment, nodes

from harness.records import STATUSES
from harness.statistics.measurements.definitions import METRIC_DEFINITIONS
from harness.statistics.sequences import CONVENTIONS

HARNESS = Path(__file__).parents[2] / "harness"
SPEAKERS = {"say": 1, "phrase": 1, "say_each": 1000, "counted": 3}


def sentences() -> dict[str, str]:
    """Return template → file that has it."""
    found: dict[str, str] = {}
    for path in sorted(HARNESS.rglob("*")):
        texts: Iterator[str] = iter(())
        if path.suffix == ".py" and path.parent.name != "language":
            source = path.read_text("utf-8")
            if "from harness.language import" in source:
                texts = of_python(ast.parse(source))
        elif path.suffix == ".j2":
            texts = of_page(path.read_text("utf-8"))
        elif path.suffix == ".js":
            texts = iter(re.findall(r'\bsay\("([^"]+)"', path.read_text("utf-8")))
        for text in texts:
            if text:
                found.setdefault(text, str(path.relative_to(HARNESS)))
    for text in filter(None, of_tables()):
        found.setdefault(text, "statistics")
    return found


def recorded_sentences() -> dict[str, str]:
    """Return template → file that writes it into records."""
    found: dict[str, str] = {}
    for path in sorted(HARNESS.rglob("*.py")):
        source = path.read_text("utf-8")
        if "recorded(" in source and path.parent.name != "language":
            for text in of_python(ast.parse(source), {"recorded": 1}):
                found.setdefault(text, str(path.relative_to(HARNESS)))
    return found


def of_python(tree: ast.AST, speakers: Mapping[str, int] = SPEAKERS) -> Iterator[str]:
    """Yield the constant templates of calls, both ends of 'one if n == 1 else many' included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            for argument in node.args[: speakers.get(node.func.id, 0)]:
                yield from _constants(argument)


def _constants(node: ast.AST) -> Iterator[str]:
    assert not isinstance(node, ast.JoinedStr), f"not a template: {ast.unparse(node)}"
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    if isinstance(node, ast.IfExp):
        yield from _constants(node.body)
        yield from _constants(node.orelse)


def of_page(source: str) -> Iterator[str]:
    for call in Environment().parse(source).find_all(nodes.Call):
        named = isinstance(call.node, nodes.Name) and call.node.name == "say"
        if named and isinstance(call.args[0], nodes.Const):
            yield call.args[0].value


def of_tables() -> Iterator[str]:
    """Yield the texts of tables that reports translate as they show them."""
    for kind in METRIC_DEFINITIONS.values():
        yield from (kind.title, kind.definition, kind.shown_unit)
    yield from CONVENTIONS.values()
    yield from STATUSES
