"""The structure of the package: who may import whom, how large folders are, what is never written.

Read from the source; the claim that nothing heavy is imported early is tried in a fresh process.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from harness.methods import METHODS
from harness.statistics.measurements import names

ROOT = Path(__file__).parent.parent
HARNESS = ROOT / "harness"
FILES = sorted(path for path in HARNESS.rglob("*.py"))
PAGE = ROOT / "docs" / "architecture.md"
MOST_FILES = 14  # side by side in one folder


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING"


def imports(path: Path, *, everywhere: bool = True) -> set[str]:
    """Return the modules that ``path`` imports; not ``everywhere``: only when it is itself imported."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if is_type_checking(node):
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not everywhere:
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


IMPORTS = {name_of(path): imports(path) for path in FILES}


def of_ours(names: set[str]) -> Iterator[str]:
    """Yield the modules of ours among imported ``names``: 'harness.x' of 'harness.x.function'."""
    for name in names:
        if within(name, "harness"):
            yield name if name in IMPORTS else name.rpartition(".")[0]


def layers() -> list[set[str]]:
    """Return the rows of the page's table of folders, the highest first."""
    rows = re.findall(r"^\| (`.*?`) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [{f"harness.{name}" for name in re.findall(r"`(\w+)/?`", row)} for row in rows]


def depth(module: str, rows: list[set[str]]) -> int:
    (found,) = [at for at, row in enumerate(rows) if within(module, *row)]
    return found


def test_the_page_names_every_folder_and_module_at_the_top():
    top = {".".join(name.split(".")[:2]) for name in IMPORTS} - {"harness"}
    assert set().union(*layers()) == top


def test_imports_point_down_the_table():
    rows = layers()
    wrong = [
        (name, what)
        for name in IMPORTS.keys() - {"harness"}
        for what in of_ours(IMPORTS[name])
        if what != "harness" and what.split(".")[1] != name.split(".")[1]
        if depth(what, rows) <= depth(name, rows) < len(rows) - 1
    ]
    allowed = {("harness.trial", "harness.sequence")}  # the entry whose second form it is
    assert set(wrong) - allowed == set()


def test_reporting_imports_to_the_left():
    page = PAGE.read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if line.startswith("Inside `reporting/`"))
    order = [f"harness.reporting.{name}" for name in re.findall(r"`(\w+)/`", line)[1:]]
    assert len(order) == 5
    for name, found in IMPORTS.items():
        for at, room in enumerate(order):
            if within(name, room):
                assert not [what for what in found if within(what, *order[at + 1 :])], name


def test_no_circle_of_modules():
    graph = {name: set(of_ours(found)) - {name} for name, found in IMPORTS.items()}
    assert circle_in(graph) == []


def circle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """Return modules that import each other in a circle; [] where there is none."""
    left = dict(graph)
    while left:
        free = [name for name, needs in left.items() if not needs & left.keys()]
        if not free:
            return sorted(left)
        for name in free:
            del left[name]
    return []


def test_a_circle_would_be_found():
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c", "d"]
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_no_folder_is_a_warehouse():
    folders = {path.parent for path in FILES}
    counts = {str(folder): len(list(folder.glob("*.py"))) - 1 for folder in folders}
    assert {folder: n for folder, n in counts.items() if n > MOST_FILES} == {}


def test_methods_and_evaluation_do_not_know_each_other():
    for name, found in IMPORTS.items():
        if within(name, "harness.methods"):
            assert not [what for what in found if within(what, "harness.evaluation")], name
        if within(name, "harness.evaluation"):
            assert not [what for what in found if within(what, "harness.methods")], name


@pytest.mark.parametrize("package", ["reporting", "statistics", "records", "search"])
def test_no_torch_anywhere_in(package):
    heavy = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "lm_eval", "datasets")
    for name, found in IMPORTS.items():
        if within(name, f"harness.{package}"):
            assert not [what for what in found if within(what, *heavy)], name


def test_each_library_in_its_place():
    places = {
        "optuna": ("harness.search", "harness.reporting", "harness.doctor"),
        "wandb": ("harness.tracking", "harness.doctor"),
        "ray": ("harness.launch", "harness.doctor"),
        "lm_eval": ("harness.evaluation.benchmarks", "harness.doctor"),
        "peft": (
            "harness.methods",
            "harness.models.pool",
            "harness.trials.cost",
            "harness.trials.by_hand.saved_adapter",
            "harness.doctor",
        ),
        "subprocess": (
            "harness.launch",
            "harness.records.provenance",
            "harness.tracking",
            "harness.builtin",
            "harness.doctor",
        ),
    }
    for library, allowed in places.items():
        users = {n for n, found in IMPORTS.items() if any(within(w, library) for w in found)}
        assert {name for name in users if not within(name, *allowed)} == set(), library


@pytest.mark.parametrize(
    "modules",
    [
        "harness.reporting",
        "harness.search.driver",
        "harness.compose.command_line",
        "harness.methods, harness.statistics.scores, harness.records, harness.trials.job",
    ],
)
def test_starts_without_torch(modules):
    """For the driver and the report, and so that a mistake is answered in a second."""
    code = (
        f"import sys, {modules}\n"
        "heavy = ('torch', 'transformers', 'peft', 'accelerate', 'datasets', 'wandb', 'lm_eval')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


def test_no_module_is_slow_to_import_because_of_peft_or_lm_eval():
    """Seconds each: only inside functions."""
    late = ("peft", "lm_eval", "bitsandbytes", "accelerate", "evaluate", "wandb", "matplotlib")
    for path in FILES:
        early = [what for what in imports(path, everywhere=False) if within(what, *late)]
        own = {"harness.reporting": "matplotlib", "harness.tracking": "wandb"}
        mine = [library for package, library in own.items() if within(name_of(path), package)]
        assert not [what for what in early if not within(what, *mine)], path


def test_nothing_outside_methods_asks_for_a_method_by_name():
    """Comparing with a literal: ==, in, match. Naming one in a message is no decision."""
    names = set(METHODS) - {"full"}  # 'full' means other things too
    for path in FILES:
        if within(name_of(path), "harness.methods", "harness.builtin"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts: list[ast.AST] = []
            if isinstance(node, ast.Compare):
                parts = [node.left, *node.comparators]
            elif isinstance(node, ast.MatchValue):
                parts = [node.value]
            literals = {
                leaf.value
                for part in parts
                for leaf in ast.walk(part)
                if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)
            }
            assert not literals & names, f"{path}:{getattr(node, 'lineno', '?')}"


def test_configuration_is_data_never_code():
    folders = ("conf", "sweeps", "bench", "examples")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.yaml")]
    assert len(files) > 20
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert "_target_" not in text, path
        assert "!!python" not in text, path


FORBIDDEN_TEXT = {
    r"trust_remote_code\s*[=:]\s*True": "code from a hub is never run",
    r"weights_only\s*=\s*False": "a checkpoint must not run code",
    r"^\s*(import|from)\s+(pickle|dill|cloudpickle|joblib)\b": "nor anything else that is read",
    r"\bdisable_adapter\b": "it is not the base",
    r"\ballow_pickle\s*=\s*True": "arrays are numbers",
    r"(?<![.\w])(eval|exec)\(": "code is not data",
    r"shell\s*=\s*True": "no shell is needed",
    r"yaml\.(load|unsafe_load)\(": "safe_load",
}


@pytest.mark.parametrize("pattern", FORBIDDEN_TEXT, ids=list(FORBIDDEN_TEXT.values()))
def test_never_written(pattern):
    for path in FILES:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert not re.search(pattern, line), f"{path}:{number}"


def test_no_drawer_for_everything_and_no_giant():
    assert not [path for path in FILES if path.stem in ("utils", "common", "helpers", "misc")]
    long = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: n for name, n in long.items() if n > 400} == {}


def test_names_of_measurements_are_written_in_one_place():
    known = {value for key, value in vars(names).items() if key.isupper()}
    assert "forgetting.kl" in known
    for path in set(FILES) - {Path(names.__file__)}:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        written = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert not known & {text for text in written if isinstance(text, str)}, path
