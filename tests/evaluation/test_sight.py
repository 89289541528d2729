"""A metric that cannot tell right answers from wrong ones on these data decides nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.compose.command_line import compose_sweep
from harness.compose.objectives import check_general, check_values, that_tell
from harness.config.metrics import OWN
from harness.data.rows.example import Example
from harness.data.rows.splits import Splits
from harness.errors import InputError
from harness.evaluation.answers.configured import add_answers, check_answers, sights_of, unusable
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.sight import instead, look

LONG = [["the cat sat on the mat"], ["a dog ran over the hill"], ["rain fell on the old mill"]]
BLIND = {  # references → the metrics by which the right answers score as none, or as another's
    "one word": ([["yes"], ["no"]] * 4, {"bleu", "rouge2"}),
    "one character": ([["7"], ["8"], ["9"]], {"bleu", "rouge2"}),
    "cyrillic": ([["да"], ["нет"]], {"bleu", "rouge2"}),
    "punctuation": ([["?"], ["!"]], {*OWN} - {"chrf", "chrf++", "ter"}),
    "emoji": ([["👍"], ["👎"]], {"bleu", "rouge1", "rouge2", "rougeL"}),
    "signs": ([["1"], ["-1"]], {"bleu", "rouge1", "rouge2", "rougeL", "exact_match", "token_f1"}),
    "no spaces": ([["水車小屋は川のそばにある。"], ["猫がマットの上に座っている"]], {"bleu"}),
    "spaces": ([["고양이가 매트 위에 앉아 있다"], ["개가 오래된 언덕을 넘어 달렸다"]], set()),
    "several references": ([["no", "he said that it was not so"], ["yes"]], set()),
    "alike": ([["one and the same answer"]] * 3, set()),
    "some short": ([["yes"], *LONG], set()),
}


@pytest.mark.parametrize("name", BLIND)
def test_what_each_metric_can_tell(name):
    references, blind = BLIND[name]
    assert {metric for metric in OWN if look(metric, references, "13a").why} == blind
    assert all(
        look(m, references, "13a").why is None for m in instead(references, "13a").split(" or ")
    )


def test_an_answer_that_a_metric_cannot_see_is_counted():
    seen = look("bleu", [*[["yes"]] * 5, *LONG], "13a")
    assert (seen.n, seen.unseen, seen.why) == (8, 5, None)
    assert not seen.sees_most
    assert look("bleu", [["水車小屋は川のそばにある。"]] * 3, "char").sees_most
    assert (
        look("exact_match", [[letter] for letter in "ABCD"], "13a").unseen == 1
    )  # 'a', an article


@pytest.fixture(scope="module")
def composed():
    return compose_sweep(["method=lora", "evaluation.metrics=[bleu,chrf,exact_match]"])


def splits(validation, test=LONG) -> Splits:
    given = (
        tuple(Example(f"prompt {i}", tuple(r)) for i, r in enumerate(of))
        for of in (validation, test)
    )
    return Splits((), *given, {}, {}, (), "f", {})


SHORT = [["yes"], ["no"]]


def test_by_default_the_first_metric_that_can_tell_is_quality(composed):
    sweep, plans = composed
    config = plans[0].trial({})

    def chosen(*of, by_default=True, finalists=1):
        own = replace(sweep, confirm=replace(sweep.confirm, finalists=finalists))
        return list(that_tell(own, config, splits(*of), by_default))

    assert chosen(LONG) == ["validation.bleu", "forgetting.kl"]
    assert chosen(SHORT) == ["validation.chrf", "forgetting.kl"]
    assert chosen(LONG, SHORT) == ["validation.chrf", "forgetting.kl"]  # it would test nothing
    assert chosen(LONG, SHORT, finalists=0) == ["validation.bleu", "forgetting.kl"]
    assert chosen([["yes"], ["no"], LONG[0]])[0] == "validation.chrf"  # it sees one of three
    assert chosen([["yes"], ["no"], LONG[0]], by_default=False)[0] == "validation.bleu"
    for of, split in (((SHORT,), "validation"), ((LONG, SHORT), "test")):
        with pytest.raises(
            InputError, match=rf"data\.{split} bleu cannot.*Use chrf or exact_match\."
        ):
            chosen(*of, by_default=False)


def test_a_split_of_one_class_tells_nothing(composed):
    sweep, _ = composed
    plan = compose_sweep(["method=lora", "data=builtin_topics"])[1][0].trial({})
    examples = [Example("text", ("sport",), label=0)] * 3
    assert set(sights_of(examples, plan.data, plan.evaluation)) == {"accuracy", "macro_f1"}
    one = replace(splits(SHORT), validation=tuple(examples))
    by = replace(sweep, objectives={"validation.accuracy": "maximize"})
    assert that_tell(by, plan, one, by_default=True) == {"validation.loss": "minimize"}
    with pytest.raises(InputError, match="of one class"):
        that_tell(by, plan, one, by_default=False)


def test_a_blind_metric_is_missing_and_none_but_blind_ones_are_refused(composed):
    config = composed[1][0].trial({}).evaluation
    measured = MeasurementCollector(100)
    add_answers(measured, "test", ["yes", "yes"], SHORT, config, "")
    assert set(measured.measurements) == {"test.chrf", "test.exact_match"}
    assert "cannot tell right answers from wrong ones" in measured.missing["test.bleu"]
    assert not measured.may_come  # what the base did is kept
    check_answers(SHORT, config)
    with pytest.raises(InputError, match=r"=\[bleu\] cannot be used.*Use exact_match or chrf"):
        check_answers(SHORT, replace(config, metrics=["bleu"]))
    data = composed[1][0].trial({}).data
    told = unusable(splits(SHORT).validation, data, config)
    assert list(told) == ["bleu"]
    with pytest.raises(InputError, match=r"validation\.bleu cannot be used: it cannot tell"):
        check_values({"validation.bleu": "maximize"}, told)


def test_general_text_that_is_not_there_is_left_out_by_what_is_measured():
    objectives = {"validation.chrf": "maximize", "forgetting.kl": "minimize"}
    with pytest.raises(InputError, match=r"'objectives={validation\.chrf:maximize}'"):
        check_general(objectives, None, ())
    with pytest.raises(InputError, match=r"\(limits\.forgetting=null\)"):
        check_general({"validation.chrf": "maximize"}, 0.5, ())
    check_general(
        {"validation.evaluate.meteor": "maximize"}, None, ()
    )  # a script's is none of ours
    typed = ["method=lora", "objectives={validation.chrf:maximize}"]
    assert compose_sweep(typed)[0].objectives == {"validation.chrf": "maximize"}
