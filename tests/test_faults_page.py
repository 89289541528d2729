"""Every test that docs/faults.md names exists, and every fault there has one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "faults.md"


def rows() -> list[list[str]]:
    """The cells of the page's tables, without their heads."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] != "fault"]


def named_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text()) if path.is_file() else ast.Module([], [])
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_fault_names_tests_that_exist():
    table = rows()
    assert len(table) > 40
    for row in table:
        assert len(row) == 3 and row[0] and row[1], row
        found = re.findall(r"`([^`]+)`", row[2])
        assert found and re.sub(r"`[^`]+`", "", row[2]).strip() == "", row
        for name in found:
            file, mark, test = name.partition("::")
            assert mark and test.startswith("test_") and test in named_in(TESTS / file), name


def test_no_fault_stands_there_twice():
    faults = [row[0] for row in rows()]
    assert len(faults) == len(set(faults))


def test_a_name_that_is_none_is_seen():
    assert "test_every_fault_names_tests_that_exist" in named_in(Path(__file__))
    assert named_in(TESTS / "no_such_file.py") == set()
