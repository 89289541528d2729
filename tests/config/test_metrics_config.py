"""Configuration of metrics, of objectives, and of the generation of answers."""

from __future__ import annotations

import re
from dataclasses import asdict, replace

import pytest

from harness.compose.objectives import resolve_objectives
from harness.config.metrics import OWN, check_metrics, measured_as
from harness.errors import InputError
from harness.statistics.measurements.definitions import METRIC_DEFINITIONS

PROMPTS = {"text_column": None, "label_column": None}


@pytest.fixture(scope="module")
def evaluation(trial_config):
    return trial_config("method=lora").evaluation


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        (["blue"], "Did you mean bleu"),
        (["perplexity"], "always measured"),
        (["evaluate:someone/else"], "Download this one, read it"),
        (["someone/else"], "Unknown metric"),
        (["bleu", "bleu"], "named twice"),
        (["./a/mine", "../b/mine.py"], "evaluate.mine is named twice"),
    ],
)
def test_names_that_are_refused(metrics, said):
    with pytest.raises(InputError, match=said):
        check_metrics(metrics)


def test_names_of_measurements():
    assert measured_as("evaluate:meteor") == "evaluate.meteor"
    assert measured_as("./my metrics/mine.v2.py") == "evaluate.mine_v2"
    assert measured_as("rougeL") == "rougeL"


@pytest.mark.parametrize("metric", [*OWN, "judge", "perplexity", "bits_per_byte"])
def test_any_metric_is_an_objective_in_its_own_direction(evaluation, metric):
    settings = {"metrics": [metric], "judge": {"during_search": True}}
    way = METRIC_DEFINITIONS[metric].direction
    assert resolve_objectives({metric: way}, PROMPTS, settings) == {f"validation.{metric}": way}
    other = {"minimize": "maximize", "maximize": "minimize"}[str(way)]
    with pytest.raises(InputError, match=rf"='{other}' cannot be used: it must be {way}"):
        resolve_objectives({metric: other}, PROMPTS, settings)


def test_an_objective_that_no_trial_would_have(evaluation):
    settings = asdict(evaluation)
    for given, said in (
        ({"ter": "minimize"}, r"add ter to evaluation.metrics \(bleu, chrf\)"),
        ({"validation.evaluate.meteor": "maximize"}, "add evaluate:NAME or the path"),
        ({"judge": "maximize"}, "add judge"),
    ):
        with pytest.raises(InputError, match=said):
            resolve_objectives(given, PROMPTS, settings)
    script = {**settings, "metrics": ["evaluate:meteor", "judge"]}
    name = "validation.evaluate.meteor"
    for way in ("maximize", "minimize"):  # nobody but the user knows which is better
        assert resolve_objectives({name: way}, PROMPTS, script) == {name: way}
    assert resolve_objectives({f"{name}.part": "maximize"}, PROMPTS, script)
    with pytest.raises(InputError, match=r"evaluation\.judge\.during_search=true"):
        resolve_objectives({"judge": "maximize"}, PROMPTS, script)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"temperature": 0.5}, "does nothing without evaluation.do_sample=true"),
        ({"top_p": 0.9}, "does nothing without evaluation.do_sample=true"),
        ({"do_sample": True, "top_p": 1.5}, "evaluation.top_p=1.5 cannot be used: .* a share in"),
        ({"do_sample": True, "temperature": 0.0}, "above 0"),
        ({"max_new_tokens": 9, "min_new_tokens": 10}, "at most evaluation.max_new_tokens"),
        ({"max_new_tokens": 0}, "at least 1, or null"),
        ({"stop": [""]}, "not empty"),
        ({"tokenize": "mecab"}, "Unknown tokenizer .*ja-mecab"),
        ({"metrics": ["judge"]}, "set evaluation.judge.endpoint and"),
    ],
)
def test_settings_that_cannot_be_meant(evaluation, changes, said):
    with pytest.raises(InputError, match=re.compile(said)):
        replace(evaluation, **changes)
