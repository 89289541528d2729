"""The README's file map is the first line of every module's docstring. Rewrite it with

python tests/test_readme.py
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

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
    for folder in sorted(path.parent for path in package.glob("*/__init__.py")):
        lines.append(f"  {folder.name + '/':<26}{first_line(folder / '__init__.py')}")
        for path in sorted(folder.glob("*.py")):
            if path.name != "__init__.py":
                lines.append(f"    {path.name:<24}{first_line(path)}")
    return "\n".join([*lines, "```"])


def in_readme() -> str:
    text = README.read_text(encoding="utf-8")
    found = re.search(r"## What is where\n\n(```.*?```)", text, re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_map_names_every_file_and_says_what_the_file_says():
    assert in_readme() == file_map()


def test_the_two_commands_are_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    for command in ("sweep", "test"):
        assert f"make {command}" in text
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    head, _, tail = text.partition("## What is where\n\n")
    rest = tail.partition("\n\n## ")
    after = f"\n\n## {rest[2]}" if rest[1] else "\n"
    README.write_text(f"{head}## What is where\n\n{file_map()}{after}", encoding="utf-8")
