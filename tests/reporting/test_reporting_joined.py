"""Several sweeps as one report: joined where they may be compared, refused where not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from synthetic_run import PROFILES, Maker

from harness.errors import InputError
from harness.records import read_record, write_record
from harness.report import main
from harness.reporting.evidence.folders.joined import join
from harness.reporting.evidence.folders.run_folder import load_run

FULL, LORA, QLORA, _ = PROFILES


def sweep(folder, *profiles, **changes):
    maker = Maker(folder)
    maker.sweep(methods=[p.method for p in profiles], **changes)
    for profile in profiles:
        for number, rate in enumerate((3e-4, 1e-3)):
            maker.trial(profile, number, rate=rate)
        for seed in (101, 102):
            maker.trial(profile, seed, stage="confirm", seed=seed)
    return folder


def joined(*folders):
    return join([load_run(folder) for folder in folders], "both")


def test_two_sweeps_are_one_report(tmp_path):
    one, other = sweep(tmp_path / "a", FULL, LORA), sweep(tmp_path / "b", LORA, QLORA)
    together = sweep(tmp_path / "all", FULL, LORA, QLORA)
    assert main([str(one), str(other), "name=both", f"reports_dir={tmp_path / 'reports'}"]) == 0
    assert main([str(together), f"reports_dir={tmp_path / 'reports'}"]) == 0
    found, whole = (
        json.loads((tmp_path / "reports" / name / "report.json").read_text())
        for name in ("both", "all")
    )
    assert found["leaderboard"] == whole["leaderboard"]
    cautions = found["recommendation"].pop("cautions")
    assert set(whole["recommendation"].pop("cautions")) < set(cautions)
    assert found["recommendation"] == whole["recommendation"]
    assert "Searched in more than one of the sweeps: lora" in " ".join(cautions)


def test_a_trial_of_both_counts_once(tmp_path):
    one, other = sweep(tmp_path / "a", FULL, LORA), sweep(tmp_path / "b", LORA)
    run = joined(one, other)
    assert len(run.rows) == 8
    assert any("4 trials are in more than one of the sweeps" in remark for remark in run.remarks)


def test_unequal_effort_is_said(tmp_path):
    one = sweep(tmp_path / "a", FULL)
    other = sweep(tmp_path / "b", LORA, search={"trials": 60, "sampler": "tpe"})
    assert any("no equal budget" in remark for remark in joined(one, other).remarks)


def change(folder, edit):
    for path in folder.glob("trials/*/*"):
        record = read_record(path)
        (path / "record.json").unlink()
        write_record(path, edit(record))


@pytest.mark.parametrize(
    ("provenance", "reason"),
    [
        ({"data": {"fingerprint": "other"}}, r"they differ in data \(d41d8c and other\)"),
        ({"model": {"sha": "9999"}}, r"they differ in base model \(3f1c and 9999\)"),
    ],
)
def test_other_things_are_refused(tmp_path, provenance, reason):
    one, other = sweep(tmp_path / "a", FULL), sweep(tmp_path / "b", LORA)
    change(other, lambda record: replace(record, provenance=record.provenance | provenance))
    with pytest.raises(InputError, match=f"a and b cannot be joined: {reason}"):
        joined(one, other)


def test_other_ways_of_measuring_are_refused(tmp_path):
    one, other = sweep(tmp_path / "a", FULL), sweep(tmp_path / "b", LORA)

    def beams(record):
        return replace(
            record,
            measurements={
                name: replace(m, signature=m.signature + "|beams:4") if "bleu" in name else m
                for name, m in record.measurements.items()
            },
        )

    change(other, beams)
    with pytest.raises(InputError, match=r"bleu was measured in different ways .*beams:4"):
        joined(one, other)


def test_other_objectives_are_refused(tmp_path):
    one = sweep(tmp_path / "a", FULL)
    other = sweep(tmp_path / "b", LORA, objectives={"validation.bleu": "maximize"})
    with pytest.raises(InputError, match="they differ in objectives"):
        joined(one, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nmae=x"], "Unknown option 'nmae'. Did you mean name?"),
        (["name=x"], "Name the folder of a sweep"),
        (["no/where"], "No folder no/where"),
    ],
)
def test_what_cannot_be_used_is_one_message(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
