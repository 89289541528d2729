"""The lists in README and docs are what the files say of themselves: modules in their docstring's first
line, methods in their YAML's second, sweeps in their question. Rewrite them with

python tests/test_readme.py
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
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


def folders() -> str:
    """The house: what is run, and a line for each package."""
    package = ROOT / "harness"
    lines = [f"{name + '/':<20}{what}" for name, what in FOLDERS.items()]
    lines.append("harness/")
    runs = [path for path in sorted(package.glob("*.py")) if "python -m" in first_line(path)]
    lines += [f"  {path.name:<18}{first_line(path)}" for path in runs]
    inner = sorted(path for path in package.glob("*/__init__.py"))
    lines += [f"  {path.parent.name + '/':<18}{first_line(path)}" for path in inner]
    return "\n".join(["```", *lines, "```"])


def every_file() -> str:
    lines = []
    package = ROOT / "harness"
    for path in sorted(package.glob("*.py")):
        if path.name != "__init__.py":
            lines.append(f"{path.name:<28}{first_line(path)}")
    for folder in sorted(path.parent for path in package.glob("**/__init__.py"))[1:]:
        indent = "  " * (len(folder.relative_to(package).parts) - 1)
        lines.append(f"{indent + folder.name + '/':<28}{first_line(folder / '__init__.py')}")
        for path in sorted(folder.glob("*.py")):
            if path.name != "__init__.py":
                lines.append(f"{indent + '  ' + path.name:<28}{first_line(path)}")
    return "\n".join(["```", *lines, "```"])


def method_list() -> str:
    lines = ["```"]
    for path in sorted((ROOT / "conf" / "method").glob("*.yaml")):
        said = path.read_text(encoding="utf-8").split("\n")[1]
        lines.append(f"{path.stem:<18}{said.removeprefix('# ').rstrip('.')}")
    return "\n".join([*lines, "```"])


def sweep_list() -> str:
    """A row a file: its name, and the question that its second line asks."""
    lines = ["| `sweep=` | question |", "|---|---|"]
    for path in sorted((ROOT / "sweeps").glob("*.yaml")):
        said = path.read_text(encoding="utf-8").split("# Question:")[1].split("\n# Command")[0]
        question = " ".join(line.removeprefix("#").strip() for line in said.split("\n"))
        lines.append(f"| [{path.stem}](sweeps/{path.name}) | {question.strip()} |")
    return "\n".join(lines)


LISTS = {
    ("README.md", "Methods"): method_list,
    ("README.md", "Sweeps that are ready"): sweep_list,
    ("README.md", "What is where"): folders,
    ("docs/files.md", "Files"): every_file,
}


def listed(file: str, title: str) -> re.Match[str]:
    text = (ROOT / file).read_text(encoding="utf-8")
    found = re.search(rf"(#+ {title}\n.*?\n)(```\n.*?```|\|.*?(?=\n\n|\Z))", text, re.DOTALL)
    assert found is not None, title
    return found


@pytest.mark.parametrize(("file", "title"), LISTS)
def test_the_lists_say_what_the_files_say(file, title):
    assert listed(file, title).group(2) == LISTS[file, title]()


def test_the_two_commands_are_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in ("sweep", "test"):
        assert f"make {command}" in text
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)


if __name__ == "__main__":
    for (file, title), made in LISTS.items():
        found = listed(file, title)
        whole = found.string[: found.start(2)] + made() + found.string[found.end(2) :]
        (ROOT / file).write_text(whole, encoding="utf-8")
