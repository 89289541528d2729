"""Tested versions come from the constraints file and differ from others by their minor number."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from harness.records import versions

ROOT = Path(__file__).parents[2]


def test_every_requirement_has_a_tested_version_within_its_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in map(Requirement, project["dependencies"]):
        tested = versions.tested_versions()[requirement.name]
        assert requirement.specifier.contains(tested, prereleases=True), requirement


def test_another_minor_version_is_untested_and_a_patch_or_a_build_is_not():
    tested = versions.tested_versions()
    torch, peft = tested["torch"], tested["peft"]
    patch = re.sub(r"^(\d+\.\d+).*", r"\1.99", peft)
    assert versions.untested({"torch": torch + "+cu130", "peft": patch, "harness": "9.9"}) == []
    assert versions.untested({"torch": "2.9.1", "lm_eval": "9.9.9"}) == [
        f"torch 2.9.1 (tested: {torch})",
        f"lm_eval 9.9.9 (tested: {tested['lm-eval']})",
    ]


def test_the_newest_of_everything_has_no_upper_bound_but_torch():
    command = [sys.executable, str(ROOT / ".ci/requirements.py"), "newest"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    bounded = [line for line in lines if "<" in line]
    assert [Requirement(line).name for line in bounded] == ["torch"]
    assert {"transformers", "peft", "pytest", "torchao"} <= {Requirement(x).name for x in lines}
