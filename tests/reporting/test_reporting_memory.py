"""Where memory goes: what the plan measured is in the report, what it left out is said."""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict

import pytest

from harness.records import write_json
from harness.records.footprint import Footprint
from harness.reporting import build_report
from harness.reporting.evidence.folders.run_folder import load_run

FULL = Footprint("toy", 80.0, 100, 70.0, 13.5, 12.25, 26.75, 9.125, 4, 1.5)
LORA = Footprint("toy", 80.0, 100, 20.0, 13.5, 0.0625, 0.125, 9.5, 8, 1.25)


def needs(footprint, *left_out):
    measured = [{"values": {}, "footprint": asdict(footprint), "too_large": None}]
    return {"measured": measured, "kept": {}, "left_out": list(left_out), "none_fits": None}


@pytest.fixture(scope="module")
def folder(sweep_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "demo"
    shutil.copytree(sweep_folder, folder)
    plan = {"full": needs(FULL), "lora": needs(LORA, "lora: of method.r <64> only 8 fits")}
    broken = {"qlora": {"measured": 3}, "prompt_tuning": needs(LORA) | {"measured": []}}
    write_json(folder / "plan.json", plan | broken)
    return folder


def test_parts_and_sum_and_picture(folder, tmp_path):
    out = build_report(folder, tmp_path)
    said = (out / "report.md").read_text()
    section = said[said.index("Where memory goes") :]
    (full,) = re.findall(r"\| *full *\|(.*)\|\n", section)[:1]
    assert [cell.strip() for cell in full.split("|")][:7] == [
        *("13.5 GB", "12.2 GB", "26.8 GB", "9.1 GB", "61.6 GB", "4", "1.5 s")
    ]
    page = (out / "index.html").read_text()
    assert "Memory of a step: full 61.6 GB; lora 23.2 GB" in page
    assert "only 8 fits" in page and "&lt;64&gt;" in page and "r <64>" not in page


def test_what_cannot_be_read_is_left_out(folder, sweep_folder, tmp_path):
    assert set(load_run(folder).footprints) == {"full", "lora"}
    assert not load_run(sweep_folder).footprints
    assert (
        "Where memory goes" not in (build_report(sweep_folder, tmp_path) / "report.md").read_text()
    )
