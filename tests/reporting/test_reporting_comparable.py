"""Scores of different signatures are not compared; what is missing is said, with its reason."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
from synthetic_run import PROFILES, Maker

from harness.records import append_jsonl, read_record, write_record
from harness.reporting import build_report
from harness.reporting.evidence.candidate_set import candidate_set
from harness.reporting.evidence.folders.run_folder import load_run
from harness.reporting.verdict.recommendation import recommend

FULL, LORA, QLORA, PROMPT = PROFILES
METHODS = (replace(FULL, error=0.3), LORA, replace(QLORA, error=0.02))


def confirmed(folder, edit):
    """Three methods, two seeds each; ``edit(method, seed, record) -> record``."""
    maker = Maker(folder, n=30)
    maker.sweep(methods=[p.method for p in METHODS])
    for profile in METHODS:
        for number, seed in enumerate((101, 102)):
            trial = maker.trial(profile, number, stage="confirm", seed=seed)
            record = read_record(trial)
            assert record is not None
            write_record(trial, edit(profile.method, seed, record))
    return load_run(folder)


def otherwise(record, name):
    measured = record.measurements[name]
    other = replace(measured, signature=measured.signature.replace("tok:13a", "tok:char"))
    return replace(record, measurements={**record.measurements, name: other})


def test_a_score_of_another_signature_wins_nothing(tmp_path):
    """qlora would be the best by far, by another tokenizer."""
    run = confirmed(tmp_path / "alike", lambda method, seed, record: record)
    chosen = recommend(run, candidate_set(run)).chosen
    assert chosen is not None and chosen.method == "qlora"
    run = confirmed(
        tmp_path / "other",
        lambda method, seed, record: (
            otherwise(record, "test.bleu") if method == "qlora" else record
        ),
    )
    candidates = candidate_set(run)
    qlora = next(c for c in candidates.members if c.method == "qlora")
    assert candidates.quality == "test.bleu" and qlora.quality is None and not qlora.feasible
    assert "test.chrf" in qlora.estimates
    advice = recommend(run, candidates)
    assert advice.chosen is not None and advice.chosen.method == "lora"
    (said,) = [line for line in advice.cautions if "different ways" in line]
    assert "(2 of 6)" in said and "tok:char" in said and "tok:13a" in said


def test_one_seed_that_was_measured_otherwise_is_no_part_of_the_mean(tmp_path):
    run = confirmed(
        tmp_path,
        lambda method, seed, record: (
            otherwise(record, "test.bleu") if (method, seed) == ("lora", 102) else record
        ),
    )
    lora = next(c for c in candidate_set(run).members if c.method == "lora")
    first = next(r.record for r in lora.rows if r.record.seed == 101)
    assert lora.quality is not None
    assert lora.quality.value == first.measurements["test.bleu"].value


def test_the_worst_domain_is_each_one_s_own(tmp_path):
    def edit(method, seed, record):
        worst = replace(
            record.measurements["forgetting.nll"],
            signature=f"nll|domain:{method} (the worst of 3)",
        )
        added = {"forgetting.nll.worst_domain": worst}
        return replace(record, measurements=record.measurements | added)

    candidates = candidate_set(confirmed(tmp_path, edit))
    assert all("forgetting.nll.worst_domain" in c.estimates for c in candidates.members)
    assert not candidates.remarks


def test_what_is_missing_and_every_score_are_in_all_reports(tmp_path):
    """The reason came from elsewhere: it is shown as text."""
    reason = "the hub cannot be reached <script>alert(1)</script>"

    def edit(method, seed, record):
        chrf = record.measurements["test.chrf"]
        more = {"test.ter": replace(chrf, value=51.25, unit="TER, percent")}
        missing = {"test.evaluate.meteor": reason} if method != "lora" else {}
        return replace(record, measurements=record.measurements | more, missing=missing)

    folder = tmp_path / "demo"
    run = confirmed(folder, edit)
    for row in run.rows:
        columns = np.tile([41.0, 80.0], (30, 1)).tolist()
        append_jsonl(
            row.folder / "items.jsonl", [{"measurement": "test.ter", "statistics": columns}]
        )
    made = build_report(folder, tmp_path / "reports")
    page, text = ((made / name).read_text() for name in ("index.html", "report.md"))
    said = "test.evaluate.meteor: missing in 4 of 6 trials, because the hub cannot be reached"
    assert "Could not be measured" in page and "alert(1)" in page
    assert "<script>alert" not in page + text
    assert said in " ".join(page.replace("<wbr>", "").split())
    assert said.replace("_", r"\_") in text
    assert "Every score on the test split" in page
    for title in ("TER\u00a0↓", "chrF\u00a0↑", "BLEU\u00a0↑"):
        assert title in page and " ".join(title.split()) in text
    assert "51.2" in page  # 41 of 80, from the examples
    trials = json.loads((made / "report.json").read_text())["trials"]
    assert [t["missing"] for t in trials if t["method"] == "lora"] == [{}, {}]
    assert {"test.evaluate.meteor": reason} in [t["missing"] for t in trials]
