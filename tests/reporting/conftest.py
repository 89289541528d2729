"""One synthetic sweep and its report, made once: reading them changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_run import build

from harness.reporting import build_report


@pytest.fixture(scope="session")
def sweep_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "demo"
    build(folder, n=40, trials=4)
    return folder


@pytest.fixture(scope="session")
def report_folder(sweep_folder, tmp_path_factory) -> Path:
    return build_report(sweep_folder, tmp_path_factory.mktemp("reports"))
