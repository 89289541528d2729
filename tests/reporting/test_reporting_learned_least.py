"""Three sweeps on ordinary data in which what had learned least was recommended; now it is not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from harness.records import Measurement, Record, append_jsonl, write_record, write_text
from harness.reporting.evidence.candidate_set import candidate_set
from harness.reporting.evidence.folders.run_folder import load_run
from harness.reporting.verdict.recommendation import Recommendation, recommend
from harness.statistics.scores import aggregate


@dataclass(frozen=True)
class Tuned:
    """A finalist: shares of 1- to 4-grams that it gets right, nats a token, and what it forgets."""

    method: str
    right: tuple[float, float, float, float]
    nll: float
    forgets: float


def written(folder: Path, finalists: list[Tuned], base: Tuned, n: int, seeds: int = 3) -> None:
    objectives = {"validation.bleu": "maximize", "forgetting.kl": "minimize"}
    methods = [one.method for one in finalists]
    sweep = {"name": "ordinary", "methods": methods, "objectives": objectives}
    write_text(folder / "sweep.yaml", yaml.safe_dump(sweep, sort_keys=False))
    lengths = np.random.default_rng(0).integers(10, 30, n)
    hard = np.random.default_rng(1).gamma(20, 1 / 20, n)
    for one in finalists:
        for seed in range(seeds):
            items = statistics(one, lengths, hard, seed)
            of_base = statistics(base, lengths, hard, 99)
            record = Record(
                status="complete",
                stage="confirm",
                method=one.method,
                trial=seed,
                attempt=1,
                fingerprint=f"{one.method}{seed}",
                configuration=one.method,
                seed=seed,
                config={"method": {"name": one.method}, "training": {}},
                overrides=[f"method={one.method}"],
                provenance={"device": "cpu"},
                measurements={name: measured(name, found) for name, found in items.items()},
                base={name: measured(name, found) for name, found in of_base.items()},
                cost={"train_seconds": 10.0},
            )
            trial = folder / "trials" / one.method / record.fingerprint
            write_record(trial, record)
            for name, kept in (("items", items), ("base_items", of_base)):
                rows = [{"measurement": k, "statistics": v.tolist()} for k, v in kept.items()]
                append_jsonl(trial / f"{name}.jsonl", rows)


def statistics(one: Tuned, lengths, hard, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([seed, *one.method.encode()])
    totals = np.stack([np.maximum(0, lengths - order) for order in range(4)], axis=1)
    correct = rng.binomial(totals, one.right)
    nll = lengths * one.nll * hard * rng.normal(1.0, 0.01) * rng.normal(1.0, 0.03, len(lengths))
    kl = one.forgets * rng.normal(1.0, 0.03) * rng.gamma(30, 1 / 30, 40)
    return {
        "test.bleu": np.column_stack([lengths, lengths, correct, totals]).astype(float),
        "test.perplexity": np.stack([nll, lengths], axis=1),
        "forgetting.kl": np.stack([kl * 50, np.full(40, 50.0)], axis=1),
    }


def measured(name: str, found: np.ndarray) -> Measurement:
    return Measurement(float(aggregate(name, found)), "score", len(found), None, "made up")


def advised(folder: Path) -> Recommendation:
    run = load_run(folder)
    return recommend(run, candidate_set(run))


NOTHING = (0.05, 0.002, 0.0, 0.0)
LITTLE = (0.30, 0.06, 0.02, 0.005)


def test_a_csv_with_defaults_bleu_near_0_and_a_quarter_of_the_perplexity(tmp_path):
    """r=4 with BLEU 0.2 and perplexity 219 had won over r=16 with 2.9 and 60."""
    finalists = [Tuned("r4", NOTHING, 5.39, 0.02), Tuned("r16", LITTLE, 4.09, 0.3)]
    written(tmp_path, finalists, Tuned("base", NOTHING, 8.9, 0.0), n=60)
    advice = advised(tmp_path)
    assert advice.chosen and advice.chosen.method == "r16"
    assert any("test BLEU does not separate the candidates" in line for line in advice.reasons)
    assert "test perplexity" in advice.headline


def test_twenty_steps_after_which_one_is_at_the_bases_own_score(tmp_path):
    """QLoRA with the base's BLEU and perplexity 7,222 had won over LoRA with 279."""
    finalists = [Tuned("qlora", LITTLE, 8.88, 0.01), Tuned("lora", LITTLE, 5.63, 0.4)]
    written(tmp_path, finalists, Tuned("base", LITTLE, 8.9, 0.0), n=60)
    advice = advised(tmp_path)
    assert advice.chosen and advice.chosen.method == "lora"


@pytest.mark.parametrize(("base", "chosen"), [(24.0, "lora"), (15.0, None)])
def test_bleu_0_at_a_perplexity_of_billions(tmp_path, base, chosen):
    """17 billion against 11 million: the smaller, if it is better than the base, else nothing."""
    finalists = [Tuned("full", (0.0,) * 4, 23.5, 0.01), Tuned("lora", (0.0,) * 4, 16.2, 0.5)]
    written(tmp_path, finalists, Tuned("base", (0.0,) * 4, base, 0.0), n=60)
    advice = advised(tmp_path)
    assert (advice.chosen.method if advice.chosen else None) == chosen
    if chosen is None:
        assert advice.headline == "No recommendation: fine-tuning has not been shown to help."
        assert any("test BLEU does not separate" in line for line in advice.reasons)
        assert any("try more training" in line for line in advice.reasons)
        assert not any("bits_per_byte" in line for line in advice.reasons), "a likelihood decides"
    assert not any("difference of about 0.0" in line for line in advice.reasons)


def test_two_test_rows_are_no_recommendation(tmp_path):
    finalists = [Tuned("lora", (0.8, 0.6, 0.5, 0.4), 2.0, 0.1)]
    written(tmp_path, finalists, Tuned("base", LITTLE, 8.0, 0.0), n=2)
    advice = advised(tmp_path)
    assert advice.chosen is None and advice.headline.endswith("2 test examples are too few.")
    assert any("data.test_fraction" in line for line in advice.reasons)
