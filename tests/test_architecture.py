"""DESIGN §4: who may know whom. Read from the source; two claims are tried in a fresh process."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.methods import METHODS

ROOT = Path(__file__).parent.parent
HARNESS = ROOT / "harness"
FILES = sorted(path for path in HARNESS.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING"


def imports(path: Path, *, everywhere: bool = True) -> set[str]:
    """Modules that ``path`` imports; not ``everywhere``: only when it is itself imported."""
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

# package: what of harness it may not import, at any place in the file
FORBIDDEN = {
    "harness.records": (
        "harness.data harness.models harness.methods harness.training harness.evaluation "
        "harness.afterwards harness.trials harness.search harness.launch harness.tracking "
        "harness.reporting harness.compose"
    ),
    "harness.config": (
        "harness.data harness.models harness.methods harness.training harness.evaluation "
        "harness.afterwards harness.trials harness.search harness.launch harness.tracking "
        "harness.reporting harness.compose"
    ),
    "harness.data": (
        "harness.models harness.methods harness.training harness.evaluation "
        "harness.afterwards harness.trials harness.search harness.launch harness.tracking "
        "harness.reporting harness.compose"
    ),
    "harness.models": (
        "harness.training harness.evaluation harness.afterwards harness.trials harness.search "
        "harness.launch harness.tracking harness.reporting harness.compose"
    ),
    "harness.methods": (
        "harness.training harness.evaluation harness.afterwards harness.trials harness.search "
        "harness.launch harness.tracking harness.reporting harness.compose"
    ),
    "harness.evaluation": (
        "harness.training harness.afterwards harness.trials harness.search harness.launch "
        "harness.tracking harness.reporting harness.compose"
    ),
    "harness.afterwards": (
        "harness.training harness.trials harness.search harness.launch harness.tracking "
        "harness.reporting harness.compose"
    ),
    "harness.training": (
        "harness.evaluation harness.afterwards harness.trials harness.search harness.launch "
        "harness.tracking harness.reporting harness.compose"
    ),
    "harness.trials": (
        "harness.search harness.launch harness.tracking harness.reporting harness.compose"
    ),
    "harness.statistics": (
        "harness.data harness.models harness.methods harness.training harness.evaluation "
        "harness.afterwards harness.trials harness.search harness.launch harness.tracking "
        "harness.reporting harness.compose"
    ),
    "harness.reporting": (
        "harness.data harness.models harness.training harness.evaluation harness.afterwards "
        "harness.trials harness.launch harness.tracking"
    ),
}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_down(package):
    inside = {name: found for name, found in IMPORTS.items() if within(name, package)}
    assert inside, f"there is no {package}"
    upward = FORBIDDEN[package].split()
    wrong = {(name, what) for name, found in inside.items() for what in found}
    assert {pair for pair in wrong if within(pair[1], *upward)} == set()


def test_methods_and_evaluation_do_not_know_each_other():
    for name, found in IMPORTS.items():
        if within(name, "harness.methods"):
            assert not [what for what in found if within(what, "harness.evaluation")], name
        if within(name, "harness.evaluation"):
            known = [what for what in found if within(what, "harness.methods")]
            assert all(within(what, "harness.methods.base") for what in known), name


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
            "harness.trials.saved",
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
        "harness.compose",
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
    files = [*(ROOT / "conf").rglob("*.yaml"), *(ROOT / "sweeps").rglob("*.yaml")]
    assert len(files) > 20
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert "_target_" not in text, path
        assert "!!python" not in text, path


FORBIDDEN_TEXT = {
    r"trust_remote_code\s*[=:]\s*True": "code from a hub is never run",
    r"weights_only\s*=\s*False": "a checkpoint must not run code",
    r"^\s*(import|from)\s+(pickle|dill|cloudpickle|joblib)\b": "nor anything else that is read",
    r"\bdisable_adapter\b": "it is not the base (O16)",
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
