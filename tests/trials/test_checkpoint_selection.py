"""A trial ends with the step that was chosen by validation, and with nothing of the steps after it."""

from __future__ import annotations

import pytest
from running import job

from harness import methods
from harness.errors import InputError
from harness.evaluation.suite import evaluate_during_training
from harness.records import read_jsonl, read_record
from harness.trials.best_step import Selection
from harness.trials.run import run_trial

KINDS = {
    "ulmfit, while it thaws": (0.05, ["method=ulmfit", "training.learning_rate=1e-2"]),
    "qlora": (1.0, ["method=qlora", "training.learning_rate=2e-2"]),
    "adalora, its budget shrinking": (0.05, ["method=adalora", "training.learning_rate=5e-2"]),
}
PERPLEXITY = "validation.perplexity"
COMMON = ["training.max_steps=8", "training.eval_every=2", "training.schedule=constant"]
BEST = "training.select_checkpoint=best"


def curve(folder, name):
    rows = [row for row in read_jsonl(folder / "metrics.jsonl") if row["kind"] == "evaluation"]
    return {row["step"]: row["measurements"].get(name) for row in rows if row["step"] > 0}


@pytest.mark.parametrize(("limit", "overrides"), KINDS.values(), ids=KINDS)
def test_what_is_measured_and_saved_is_the_chosen_step(
    bench, trial_config, tmp_path, limit, overrides
):
    """Under a limit that only some steps keep; watched again, the saved model is that very step."""
    config = trial_config(*overrides, *COMMON, BEST, f"training.select_forgetting_limit={limit}")
    record = run_trial(job(tmp_path, bench.cache, config, keep_adapter=True), bench)
    assert record == read_record(tmp_path)
    forgotten, perplexities = (curve(tmp_path, n) for n in ("forgetting.kl", PERPLEXITY))
    within = [step for step, kl in forgotten.items() if kl <= limit]
    step = min(within, key=perplexities.get)
    assert set(forgotten) == {2, 4, 6, 8} and step < 8, "otherwise this shows nothing"
    found = record.provenance["selected"]
    assert found["step"] == step
    assert found["forgetting.kl"] == forgotten[step]
    assert record.provenance["steps"] == 8
    assert not (tmp_path / "selected").exists()
    method, inputs = methods.build(config.method), bench.inputs(config)
    before = bench.before(config, inputs)
    with bench.pool.lend(config.model, method.base_quantization) as base:
        model = method.load(base.model, tmp_path / "adapter")
        watched = evaluate_during_training(
            model, inputs.watched, before.watched, config.evaluation, "cpu"
        )
        final = evaluate_during_training(
            model, inputs.final, before.final, config.evaluation, "cpu"
        )
    assert watched["forgetting.kl"] == pytest.approx(forgotten[step], rel=1e-4)
    assert watched[PERPLEXITY] == pytest.approx(perplexities[step], rel=1e-5)
    assert final[PERPLEXITY] == pytest.approx(record.value(PERPLEXITY), rel=1e-5)


HARD = ["method=lora", "training.learning_rate=5e-2", "method.lora_dropout=0.2", *COMMON, BEST]


@pytest.mark.parametrize("limit", [None, 1e-9])
def test_the_best_of_all_and_the_one_that_forgets_least(bench, trial_config, tmp_path, limit):
    own = [] if limit is None else [f"training.select_forgetting_limit={limit}"]
    config = trial_config(*HARD, *own)
    record = run_trial(job(tmp_path, bench.cache, config), bench)
    found = record.provenance["selected"]
    name = "validation.perplexity" if limit is None else "forgetting.kl"
    values = curve(tmp_path, name)
    assert set(values) == {2, 4, 6, 8}
    assert found["step"] == min(values, key=values.get)
    assert ("none had forgetting.kl" in found["why"]) == (limit is not None)


class Killed(BaseException):
    """Nobody gets to write anything more."""


def test_killed_after_a_better_step_that_the_checkpoint_does_not_reach(
    bench, trial_config, tmp_path
):
    """The kept step is from beyond the checkpoint that training goes on from: it is found again."""
    config = trial_config(*HARD, "training.checkpoint_every=5")
    whole = run_trial(job(tmp_path / "whole", bench.cache, config), bench)

    def killed_at(step, values):
        if step == 6:
            raise Killed
        return True

    work = job(tmp_path / "cut", bench.cache, config)
    with pytest.raises(Killed):
        run_trial(work, bench, decide=killed_at)
    assert len(list((tmp_path / "cut" / "selected").iterdir())) == 1  # the best so far, no more
    record = run_trial(work, bench)
    assert record.provenance["selected"] == whole.provenance["selected"]
    assert record.measurements == whole.measurements


def test_ranks():
    """Within the limit by quality, beyond it by forgetting, and what is not known is worst."""
    selection = Selection(0.1, "validation.perplexity", None)  # type: ignore[arg-type]

    def rank(perplexity, kl):
        return selection.rank({"validation.perplexity": perplexity, "forgetting.kl": kl})

    order = [rank(2, 0.1), rank(3, 0.0), rank(9, 0.05), rank(1, 0.11), rank(0.5, 0.2)]
    assert order == sorted(order)
    assert selection.rank({"validation.perplexity": 1.0}) > order[-1]
    assert selection.rank({"forgetting.kl": 0.0}) < order[-2]


def test_a_limit_needs_best_and_general_text(trial_config):
    with pytest.raises(InputError, match=r"select_forgetting_limit=0\.1 .*select_checkpoint=best"):
        trial_config("method=lora", "training.select_forgetting_limit=0.1")
    with pytest.raises(InputError, match=r"needs data\.general"):
        trial_config(
            "method=lora", BEST, "training.select_forgetting_limit=0.1", "data.general=null"
        )
