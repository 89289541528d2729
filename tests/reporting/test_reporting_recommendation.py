"""The rule on sweeps built to need each of its steps, and on those that leave it nothing."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from synthetic_run import PROFILES, Maker

from harness.records import Measurement, read_record, write_record
from harness.reporting import build_report
from harness.reporting.evidence.candidate_set import candidate_set
from harness.reporting.evidence.folders.run_folder import load_run
from harness.reporting.formats.terminal_board import announce
from harness.reporting.read import read_report
from harness.reporting.verdict.contest import tie_letters
from harness.reporting.verdict.recommendation import Recommendation, recommend

FULL, LORA, QLORA, PROMPT = PROFILES


def advised(folder: Path) -> Recommendation:
    run = load_run(folder)
    return recommend(run, candidate_set(run))


def confirmed(maker: Maker, *profiles, seeds=(101, 102), margin=None, outputs=None) -> None:
    confirm = {"finalists": 1, "seeds": list(seeds), "margin": margin}
    maker.sweep(methods=[p.method for p in profiles], confirm=confirm)
    for profile in profiles:
        for number, seed in enumerate(seeds):
            maker.trial(profile, number, stage="confirm", seed=seed, outputs=outputs)


def test_tied_in_quality_the_least_forgetting_wins(tmp_path):
    maker = Maker(tmp_path, n=40)
    confirmed(maker, replace(FULL, error=0.14), LORA, PROMPT, seeds=(101, 102, 103), margin=12)
    advice = advised(tmp_path)
    assert advice.chosen and advice.chosen.method == "lora"
    assert advice.decision and advice.decision.step == "forgetting"
    assert "within 12.0 test BLEU of the best, and it forgets least" in advice.headline
    assert any("forgets more" in why for label, why in advice.runners_up if "full" in label)
    assert any("worse in quality" in why for label, why in advice.runners_up if "prompt" in label)
    assert any("forgetting had to stay below" in line for line in advice.would_change)
    assert advice.detectable and advice.detectable > 0


def test_candidates_without_any_difference_are_written_too(tmp_path):
    """No spread at all has infinitely many degrees of freedom, which JSON cannot say."""
    maker = Maker(tmp_path / "run", n=40)
    shortened = [" ".join(reference.split()[:-1]) for reference in maker.references]
    confirmed(maker, LORA, replace(LORA, method="qlora"), outputs=shortened)
    report = build_report(tmp_path / "run", tmp_path / "reports")
    (tested,) = json.loads((report / "report.json").read_text())["comparisons"]
    assert tested["difference"] == 0 and tested["error"]["df"] is None


def test_the_best_score_that_is_not_shown_better_than_the_base_is_not_said_of_another(tmp_path):
    """The seeds of the best differ so much that only the second is shown to be better."""
    maker, rng, seeds = Maker(tmp_path, n=60), np.random.default_rng(0), range(101, 107)

    def spoiled(share: float) -> list[str]:
        return [maker._spoil(reference, share, rng) for reference in maker.references]

    maker.base_outputs, steady = spoiled(0.36), spoiled(0.2)
    maker.sweep(methods=["full", "lora"], confirm={"finalists": 1, "seeds": [*seeds]})
    for number, seed in enumerate(seeds):
        wild = spoiled((0.03, 0.34)[number % 2])
        maker.trial(FULL, number, stage="confirm", seed=seed, outputs=wild)
        maker.trial(LORA, number, stage="confirm", seed=seed, outputs=steady)
    advice = advised(tmp_path)
    assert advice.chosen and advice.decision and advice.decision.best.method == "full"
    assert advice.chosen.method == "lora"
    assert "scores best in test BLEU of those shown to be better than the base" in advice.headline


def test_tied_in_both_the_cheapest_wins(tmp_path):
    maker = Maker(tmp_path, n=40)
    twin = replace(LORA, method="qlora", memory_gb=1.9)
    confirmed(maker, LORA, twin, seeds=(101, 102, 103), margin=12)
    on_a_gpu(tmp_path)
    advice = advised(tmp_path)
    assert advice.chosen and advice.chosen.method == "qlora"
    assert advice.decision and (advice.decision.step, advice.decision.cost_name) == (
        "cost",
        "peak_memory_gb",
    )


def on_a_gpu(folder: Path) -> None:
    for path in folder.glob("trials/*/*"):
        record = read_record(path)
        assert record is not None
        provenance = {**record.provenance, "device": "NVIDIA L4"}
        write_record(path, replace(record, provenance=provenance))


def test_the_memory_of_a_cpu_process_decides_nothing(tmp_path):
    maker = Maker(tmp_path, n=40)
    slower = replace(LORA, method="qlora", memory_gb=1.9, seconds=2 * LORA.seconds)
    confirmed(maker, LORA, slower, seeds=(101, 102, 103), margin=12)
    advice = advised(tmp_path)
    assert advice.chosen and advice.chosen.method == "lora"
    assert advice.decision and advice.decision.cost_name == "seconds"
    assert not any("memory had to stay" in line for line in advice.would_change)


@pytest.mark.parametrize(("preparation", "by"), [(0.0, "trainable_parameters"), (60.0, "seconds")])
def test_preparation_is_part_of_a_methods_time(tmp_path, preparation, by):
    """Both train for 140 s, one prepares for a minute: no tie, although it trains less."""
    maker = Maker(tmp_path, n=40)
    other = replace(LORA, method="forest_importance", parameters=50_000)
    confirmed(maker, LORA, other, seeds=(101, 102, 103), margin=12)
    for path in tmp_path.glob("trials/forest_importance/*"):
        record = read_record(path)
        assert record is not None
        cost = {**record.cost, "preparation_seconds": preparation}
        write_record(path, replace(record, cost=cost))
    advice = advised(tmp_path)
    assert advice.decision and advice.decision.cost_name == by
    assert advice.chosen and advice.chosen.method == ("lora" if preparation else other.method)


def test_clearly_best_wins_whatever_it_forgets(tmp_path):
    maker = Maker(tmp_path, n=40)
    confirmed(maker, replace(FULL, error=0.02), LORA)
    advice = advised(tmp_path)
    assert advice.chosen and advice.chosen.method == "full"
    assert advice.decision and advice.decision.step == "quality"
    letters = tie_letters(
        candidate_set(load_run(tmp_path)).members, candidate_set(load_run(tmp_path))
    )
    assert sorted(letters.values()) == ["A", "B"]


@pytest.mark.parametrize(
    "limits", [{"peak_memory_gb": 4}, {"forgetting": 0.1}, {"trainable_parameters": 1_000_000}]
)
def test_a_broken_limit_takes_a_candidate_out(tmp_path, limits):
    maker = Maker(tmp_path, n=40)
    confirmed(maker, replace(FULL, error=0.02), LORA)
    maker.sweep(methods=["full", "lora"], limits=limits)
    advice = advised(tmp_path)
    assert advice.chosen and advice.chosen.method == "lora"
    assert any("limit" in why for label, why in advice.runners_up if label.startswith("full"))
    assert any("did not matter" in line and "full" in line for line in advice.would_change)


def test_nothing_within_the_limits(tmp_path):
    maker = Maker(tmp_path, n=30)
    confirmed(maker, LORA)
    maker.sweep(methods=["lora"], limits={"peak_memory_gb": 1})
    advice = advised(tmp_path)
    assert advice.chosen is None and "lora" in advice.would_change[0]


def test_diverged_with_one_seed_is_not_recommended(tmp_path):
    maker = Maker(tmp_path, n=30)
    confirmed(maker, LORA, replace(PROMPT, error=0.3))
    maker.trial(LORA, 3, stage="confirm", seed=103, status="diverged", reason="NaN at step 9")
    advice = advised(tmp_path)
    assert advice.chosen and advice.chosen.method == "prompt_tuning"


@pytest.mark.parametrize(
    ("own_rate", "limits", "said"),
    [
        (3e-3, {}, "Both have one seed and the same texts of the search"),
        (None, {}, "the choice with new seeds on those of the test. It stands out"),
        (3e-3, {"peak_memory_gb": 3}, None),
    ],
)
def test_a_search_trial_that_dominates_the_choice_is_named(tmp_path, own_rate, limits, said):
    """``own_rate``: the rate of the choice, which the search tried too; None: it did not."""
    maker = Maker(tmp_path, n=40)
    confirmed(maker, LORA, seeds=())
    rate = own_rate or 2.9e-3
    for number, seed in enumerate((101, 102)):
        maker.trial(replace(LORA, memory_gb=1.0), number, stage="confirm", seed=seed, rate=rate)
    if own_rate:
        maker.trial(replace(LORA, memory_gb=1.0), 0, rate=own_rate)
    maker.trial(LORA, 1, rate=3e-4)  # the best rate: better, and it forgets less
    maker.trial(LORA, 2, rate=3e-1)
    maker.trial(LORA, 3, rate=2e-4, status="pruned")
    maker.sweep(methods=["lora"], limits=limits)
    advice = advised(tmp_path)
    assert advice.chosen and advice.chosen.settings["training.learning_rate"] == rate
    named = [line for line in advice.cautions if "dominates" in line]
    assert len(named) == (said is not None)
    if said:
        assert named[0].startswith("Search trial 1 of lora (r=8, lr=3e-4) dominates lora r=8, lr=")
        assert said in named[0] and "raise confirm.finalists" in named[0]


def test_one_method_one_seed(tmp_path):
    confirmed(Maker(tmp_path, n=30), LORA, seeds=(101,))
    advice = advised(tmp_path)
    assert advice.chosen and advice.decision and advice.decision.step == "only"
    assert any("one seed" in line for line in advice.cautions)


def test_without_confirm_the_search_is_used_and_called_optimistic(tmp_path):
    maker = Maker(tmp_path, n=40)
    maker.sweep()
    for profile in PROFILES:
        maker.trial(profile, 0)
        maker.trial(profile, 1, rate=2e-3, size=32)
    run = load_run(tmp_path)
    candidates = candidate_set(run)
    advice = recommend(run, candidates)
    assert not candidates.confirmed and candidates.quality == "validation.bleu"
    assert advice.chosen and "optimistic" in advice.cautions[0]


def test_confirm_that_failed_altogether_falls_back_to_search(tmp_path):
    maker = Maker(tmp_path, n=30)
    maker.sweep(methods=["lora"])
    maker.trial(LORA, 0)
    maker.trial(LORA, 0, stage="confirm", seed=101, status="failed", reason="disk full")
    advice = advised(tmp_path)
    assert advice.chosen and "optimistic" in advice.cautions[0]


@pytest.mark.parametrize("status", ["failed", "diverged", None])
def test_nothing_complete(tmp_path, status):
    maker = Maker(tmp_path, n=30)
    maker.sweep()
    if status:
        maker.trial(LORA, 0, status=status, reason="no space left")
    advice = advised(tmp_path)
    assert advice.chosen is None and advice.headline == "No recommendation."


def test_where_every_candidate_breaks_a_limit_the_terminal_names_it(tmp_path):
    """A sweep then ends with exit code 1, as it does without a complete trial."""
    maker = Maker(tmp_path / "run", n=30)
    confirmed(maker, LORA, FULL)
    maker.sweep(methods=["lora", "full"], limits={"peak_memory_gb": 1.0, "forgetting": 0.01})
    folder = build_report(tmp_path / "run", tmp_path / "reports")
    console = Console(file=io.StringIO(), width=120)
    announce(folder, console)
    said = console.file.getvalue()
    assert not read_report(folder).judged and "No recommendation." in said
    assert "needs 3.10 GB, the limit is 1.00 GB" in said
    assert re.search(r"forgets 0\.1\d\d, the limit is 0\.01", said), said


def test_language_model_data_is_minimized(tmp_path):
    """Perplexity only: no BLEU, no forgetting, lower is better."""
    maker = Maker(tmp_path, n=30)
    maker.sweep(methods=["full", "lora"], objectives={"validation.perplexity": "minimize"})
    for profile, nll in ((FULL, 2.0), (LORA, 3.0)):
        folder = maker.trial(profile, 0, stage="confirm", seed=101)
        record = read_record(folder)
        assert record is not None
        value = Measurement(2.718**nll, "perplexity", 30, None, "tokens")
        write_record(folder, replace(record, measurements={"test.perplexity": value}))
        rows = [[nll * t + 0.1 * (t % 3), t] for t in range(5, 35)]
        line = {"measurement": "test.perplexity", "statistics": rows}
        (folder / "items.jsonl").write_text(json.dumps(line) + "\n{torn")
    advice = advised(tmp_path)
    assert advice.chosen and advice.chosen.method == "full"
    assert any("Forgetting was not measured" in line for line in advice.reasons)


def test_without_items_intervals_decide(tmp_path):
    maker = Maker(tmp_path, n=30)
    confirmed(maker, replace(FULL, error=0.02), LORA, seeds=(101,))
    for path in tmp_path.glob("trials/*/*/items.jsonl"):
        path.unlink()
    advice = advised(tmp_path)
    assert advice.decision and not advice.decision.tested and not advice.decision.firm
    assert advice.chosen and advice.chosen.method == "full" and "for now" in advice.headline
    assert not any("significantly" in line for line in (advice.headline, *advice.reasons))


@pytest.mark.parametrize(("of_full", "disagrees"), [(10.0, True), (90.0, False)])
def test_validation_that_ranks_otherwise_is_pointed_out(tmp_path, of_full, disagrees):
    maker = Maker(tmp_path, n=30)
    confirmed(maker, replace(FULL, error=0.02), LORA)
    for profile, value in ((FULL, of_full), (LORA, 90.0)):
        folder = maker.trial(profile, 0)
        record = read_record(folder)
        assert record is not None
        wrong = replace(record.measurements["validation.bleu"], value=value)
        write_record(folder, replace(record, measurements={"validation.bleu": wrong}))
    advice = advised(tmp_path)
    assert any("disagree on the best" in line for line in advice.cautions) is disagrees
    assert any("agree on the best" in line for line in advice.cautions) is disagrees
    assert any("not have the same" in line for line in advice.cautions) is False


def test_no_better_than_the_base_is_no_recommendation(tmp_path):
    confirmed(Maker(tmp_path, n=30), replace(LORA, error=0.6))
    advice = advised(tmp_path)
    assert advice.chosen is None
    assert advice.headline == "No recommendation: fine-tuning has not been shown to help."
    assert any("more training" in line and "more test examples" in line for line in advice.reasons)


def test_a_record_that_contradicts_its_items_is_pointed_out(tmp_path):
    maker = Maker(tmp_path, n=30)
    confirmed(maker, LORA, seeds=(101,))
    folder = next(tmp_path.glob("trials/lora/*"))
    record = read_record(folder)
    assert record is not None
    wrong = replace(record.measurements["test.bleu"], value=99.0)
    write_record(folder, replace(record, measurements=record.measurements | {"test.bleu": wrong}))
    assert any("recomputed" in line for line in advised(tmp_path).cautions)


def test_near_equals_are_named_for_now_with_what_would_settle_it(tmp_path):
    """A lottery that says so, the margin that would decide, and the part of the error that binds."""
    maker = Maker(tmp_path, n=120)
    confirmed(maker, replace(FULL, error=0.14), LORA, PROMPT)
    advice = advised(tmp_path)
    decision = advice.decision
    assert decision and decision.chosen and not decision.firm and "for now" in advice.headline
    assert sum(share for _, share in decision.choices) == pytest.approx(1.0)
    assert 0.3 < (decision.stability or 0.0) < 0.95
    limits = [limit for limit, _ in decision.other_margins]
    assert limits == sorted(limits) and limits[0] > decision.margin
    assert any(
        line.startswith("Margin: 1.0 test BLEU") and "other margins" in line
        for line in advice.reasons
    )
    power = next(line for line in advice.reasons if line.startswith("Power:"))
    assert (
        "The limiting factor is the number of seeds" in power
        and "no number of test examples" in power
    )


def test_the_stated_margin_is_the_one_that_counts(tmp_path):
    confirmed(Maker(tmp_path, n=40), replace(FULL, error=0.14), LORA, margin=50)
    advice = advised(tmp_path)
    assert advice.decision and advice.decision.firm and advice.decision.margin == 50
    assert any("as configured (confirm.margin)" in line for line in advice.reasons)


def test_what_the_search_alone_says_is_to_be_confirmed_first(tmp_path):
    """One seed each, on the split that chose them: a ranking, and no advice to use anything."""
    maker = Maker(tmp_path, n=40)
    maker.sweep(methods=["full", "lora"], confirm={"finalists": 0, "seeds": []})
    for profile in (FULL, LORA):
        maker.trial(profile, 0)
    advice = advised(tmp_path)
    assert advice.headline.startswith("Confirm ")
    assert "with new seeds before using it" in advice.headline and "Use" not in advice.headline
    assert advice.cautions[0].startswith("No finalist was confirmed")
