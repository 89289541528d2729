"""The README's lists are what the files say of themselves: modules in their docstring's first line,
methods in their YAML's second. Rewrite them with

python tests/test_readme.py
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
FOLDERS = {
    "conf": "building blocks, one Hydra group a folder",
    "sweeps": "named sweeps: each says its question, its command and its cost",
    "bench": "measurements beside what a user would do without us",
    "reports": "where reports go; one generated example is committed",
    "tests": "mirrors harness/",
}


def first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, f"{path} has no docstring"
    return docstring.split("\n")[0].replace("``", "")


def file_map() -> str:
    lines = ["```"]
    lines += [f"{name + '/':<28}{what}" for name, what in FOLDERS.items()]
    lines.append("harness/")
    package = ROOT / "harness"
    for path in sorted(package.glob("*.py")):
        if path.name != "__init__.py":
            lines.append(f"  {path.name:<26}{first_line(path)}")
    for folder in sorted(path.parent for path in package.glob("**/__init__.py"))[1:]:
        indent = "  " * len(folder.relative_to(package).parts)
        lines.append(f"{indent + folder.name + '/':<28}{first_line(folder / '__init__.py')}")
        for path in sorted(folder.glob("*.py")):
            if path.name != "__init__.py":
                lines.append(f"{indent + '  ' + path.name:<28}{first_line(path)}")
    return "\n".join([*lines, "```"])


def method_list() -> str:
    lines = ["```"]
    for path in sorted((ROOT / "conf" / "method").glob("*.yaml")):
        said = path.read_text(encoding="utf-8").split("\n")[1]
        lines.append(f"{path.stem:<18}{said.removeprefix('# ').rstrip('.')}")
    return "\n".join([*lines, "```"])


LISTS = {"Methods": method_list, "What is where": file_map}


def listed(title: str) -> re.Match[str]:
    text = README.read_text(encoding="utf-8")
    found = re.search(rf"(## {title}\n.*?\n)(```\n.*?```)", text, re.DOTALL)
    assert found is not None, title
    return found


@pytest.mark.parametrize("title", LISTS)
def test_the_lists_say_what_the_files_say(title):
    assert listed(title).group(2) == LISTS[title]()


def test_the_two_commands_are_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    for command in ("sweep", "test"):
        assert f"make {command}" in text
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)


if __name__ == "__main__":
    for title, made in LISTS.items():
        found = listed(title)
        whole = found.string[: found.start(2)] + made() + found.string[found.end(2) :]
        README.write_text(whole, encoding="utf-8")
