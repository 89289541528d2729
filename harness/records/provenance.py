"""Provenance of a measurement: versions, commit and machine. No secrets, paths or host names."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

from harness.records.versions import untested

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "torchao",
    "accelerate",
    "datasets",
    "hydra-core",
    "optuna",
    "sacrebleu",
    "evaluate",
    "lm-eval",
    "tokenizers",
    "numpy",
)
PLUGGED_IN = "harness.methods"  # entry points of packages that add methods


@lru_cache(maxsize=1)
def environment() -> dict[str, Any]:
    """Return versions, commit and platform, which do not change during a process."""
    versions = {"harness": _version("finetune-harness"), "python": platform.python_version()}
    versions |= {name: _version(name) for name in PACKAGES}
    versions |= {p.dist.name: p.dist.version for p in entry_points(group=PLUGGED_IN) if p.dist}
    found = {name: version for name, version in versions.items() if version is not None}
    return {
        "versions": found,
        "untested_versions": untested(found),
        "commit": _commit(),
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit of this package, with '+' if files were changed since; None outside git."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=here,
                capture_output=True,
                text=True,
                timeout=5,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return None
    return commit + ("+" if git("status", "--porcelain", "--untracked-files=no", ".") else "")
