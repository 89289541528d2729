"""An installed wheel works in an empty folder, with the user's own configuration beside ours."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the files that pip would put into site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(unpacked: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-P", "-m", "harness.sweep", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_everything_that_runs_is_in_it(unpacked: Path):
    assert (unpacked / "harness/conf/config.yaml").is_file()
    assert (unpacked / "harness/conf/sweep/compare.yaml").is_file()
    assert (unpacked / "harness/reporting/formats/page.html.j2").is_file()
    assert (unpacked / "harness/builtin/assets/model/model.safetensors").is_file()


def test_a_plan_from_an_empty_folder_with_a_configuration_of_ones_own(
    unpacked: Path, tmp_path: Path
):
    own = tmp_path / "mine" / "method"
    own.mkdir(parents=True)
    (own / "small_lora.yaml").write_text(
        "# @package _global_\ndefaults: [lora, _self_]\nmethod: {r: 3}\n"
        "search: {space: {method.r: null}}\n"
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    done = run(
        unpacked,
        empty,
        "--config-dir",
        "../mine",
        "method=small_lora",
        "plan=true",
        "launcher.measure=false",
    )
    assert done.returncode == 0, done.stderr
    assert "r 3" in done.stdout
    assert "984,192 parameters" in done.stdout


def test_the_code_that_runs_is_the_wheels(unpacked: Path, tmp_path: Path):
    done = run(unpacked, tmp_path, "method=nothing")
    assert done.returncode == 2
    assert "Known: adalora" in done.stderr
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    where = subprocess.run(
        [
            sys.executable,
            "-P",
            "-c",
            "import harness.compose.command_line as c; print(c.conf_dir())",
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()) == unpacked / "harness/conf"
