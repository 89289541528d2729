"""Lists in README and docs come from the files themselves: modules from their docstring's first line,
methods from their YAML's second, sweeps from their question, keys from conf/. sweeps/all_methods.yaml
follows conf/method/. Rewrite them with

python tests/test_readme.py
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from harness.__main__ import COMMANDS
from harness.compose.key_comments import description, key_comments

ROOT = Path(__file__).parents[1]
CONFIGURATION = ROOT / "docs" / "configuration.md"
FOLDERS = {
    "conf": "building blocks, one Hydra group a folder",
    "sweeps": "named sweeps: each says its question, its command and its cost",
    "docs": "a page for each task",
    "examples": "whole runs, each with its data, its command and what came out",
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
        lines.append(f"| [{path.stem}](../sweeps/{path.name}) | {question.strip()} |")
    return "\n".join(lines)


def configuration() -> str:
    """The page of every key: its own introduction, then a table for each file of conf/."""
    conf = ROOT / "conf"
    introduction, _, _ = CONFIGURATION.read_text(encoding="utf-8").partition("\n\n## ")
    tables: dict[str, list[str]] = {}
    for entry in key_comments(conf):
        if entry.default or entry.comment:
            cells = (entry.default and f"`{entry.default}`", entry.comment)
            row = " | ".join(cell.replace("|", "\\|") for cell in (f"`{entry.key}`", *cells))
            tables.setdefault(entry.file, []).append(f"| {row} |")
    parts = [introduction]
    for file, rows in tables.items():
        parts.append(f"## [{file}](../conf/{file})")
        if file != "config.yaml":
            parts.append(description(conf / file))
        parts.append("\n".join(["| key | default | meaning |", "|---|---|---|", *rows]))
    return "\n\n".join(filter(None, parts)) + "\n"


ALL_METHODS = ROOT / "sweeps" / "all_methods.yaml"


def all_methods() -> str:
    """sweeps/all_methods.yaml with every method that the built-in model can take.

    Methods that are in the file stay in their place; others follow them, by name.
    """
    from skeletons import refused_by_the_builtin_model

    registered = {path.stem for path in (ROOT / "conf" / "method").glob("*.yaml")}
    registered -= refused_by_the_builtin_model()
    text = ALL_METHODS.read_text(encoding="utf-8")
    block = re.search(r"(?<=^methods:\n)(  .*\n)+", text, re.MULTILINE)
    assert block is not None
    lines = block.group().splitlines()
    there = [line.removeprefix("  - ") for line in lines if line.startswith("  - ")]
    kept = [line for line in lines if line.lstrip().startswith("#") or line[4:] in registered]
    added = [f"  - {name}" for name in sorted(registered - set(there))]
    return text.replace(block.group(), "\n".join([*kept, *added, ""]))


LISTS = {
    ("docs/methods.md", "Methods"): method_list,
    ("docs/sweeps.md", "Sweeps that are ready"): sweep_list,
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


def test_the_page_of_every_key_is_up_to_date():
    assert CONFIGURATION.read_text(encoding="utf-8") == configuration()


def test_the_commands_are_those_of_the_console():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^harness (\w+) {4,}(.+)$", text, re.MULTILINE) == list(COMMANDS.items())


def test_the_sweep_of_all_methods_has_every_method_of_the_registry():
    assert ALL_METHODS.read_text(encoding="utf-8") == all_methods()


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
    CONFIGURATION.write_text(configuration(), encoding="utf-8")
    ALL_METHODS.write_text(all_methods(), encoding="utf-8")
