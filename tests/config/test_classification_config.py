"""Objectives of classification tasks, and the messages for those that cannot be used."""

from __future__ import annotations

import pytest
from sweeping import composed

from harness.errors import InputError

TOPICS = "data=builtin_topics"


def test_searched_by_accuracy_and_forgetting():
    sweep, _ = composed("method=lora", TOPICS)
    assert sweep.objectives == {"validation.accuracy": "maximize", "forgetting.kl": "minimize"}
    sweep, _ = composed("method=lora", TOPICS, "+objectives={macro_f1:maximize,loss:minimize}")
    assert list(sweep.objectives) == ["validation.macro_f1", "validation.loss"]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ([TOPICS, "+objectives={bleu:maximize}"], "validation.accuracy, validation.macro_f1"),
        ([TOPICS, "+objectives={perplexity:minimize}"], "data.label_column is set"),
        (["+objectives={accuracy:maximize}"], "data.label_column is not set.*validation.bleu"),
        ([TOPICS, "data.label_column=text"], "another column than data.text_column"),
        ([TOPICS, "data.text_column=null"], "data.prompt_column.*data.label_column='topic'"),
        ([TOPICS, "method.unfreezing=gradul", "method=ulmfit"], "gradual, chain_thaw, last, full"),
        (["method=ulmfit", "method.lm_steps=-1"], "method.lm_steps=-1.*null or at least 0"),
        (["method=ulmfit", "method.lm_learning_rate=0"], "method.lm_learning_rate=0.*above 0"),
    ],
)
def test_what_cannot_be_used(typed, said):
    with pytest.raises(InputError, match=said):
        composed(*typed)


def test_the_ablation_has_the_cells_of_the_table():
    _, plans = composed("sweep=ulmfit_ablation")
    cells = {name: plan.trial({}) for name, plan in plans.items()}
    switches = {
        (
            trial.method["unfreezing"],
            trial.method["discriminative_factor"] != 1,
            trial.training.schedule,
        )
        for trial in cells.values()
    }
    wanted = {(u, d, s) for u in ("full", "gradual") for d in (False, True)
              for s in ("constant", "stlr")}  # fmt: skip
    others = {("last", False, "constant"), ("chain_thaw", False, "constant")}
    assert switches == wanted | others | {("gradual", False, "cosine")}
    for plan in plans.values():
        assert list(plan.space) == ["training.learning_rate"], "each cell is tuned alike"
    first = [
        trial.method | {"unfreezing": 0, "discriminative_factor": 0} for trial in cells.values()
    ]
    assert all(method == first[0] for method in first), "one first stage for all"
