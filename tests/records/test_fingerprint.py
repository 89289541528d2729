"""A trial's identity: everything that can change its result is in it, and nothing else."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import fields, replace

import pytest
from sweeping import composed

from harness.config import TrialConfig
from harness.records.fingerprint import digest, fingerprints

PLACES = ["source", "name", "subset", "train", "validation", "test"]
PLACES += ["general", "general_test", "replay", "chat_template"]


@pytest.fixture(scope="module")
def config():
    return composed("method=lora")[1]["lora"].trial({})


def other(value, hint):
    """Another value of the same kind; none of them is checked for sense here."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [*value, "another"]
    if value is None:
        return 7 if {int, float} & set(typing.get_args(hint)) else "another"
    if isinstance(value, dict):
        return {**value, "another": 1}
    return f"{value}_"


def changed(config, part, name):
    """``config`` with another value of one field, without the checks of its class."""
    inner = getattr(config, part)
    copy = object.__new__(type(inner))
    hints = typing.get_type_hints(type(inner))
    for field in fields(inner):
        value = getattr(inner, field.name)
        object.__setattr__(
            copy, field.name, other(value, hints[field.name]) if field.name == name else value
        )
    return replace(config, **{part: copy})


FIELDS = [
    (part.name, field.name)
    for part in fields(TrialConfig)
    if dataclasses.is_dataclass(hint := typing.get_type_hints(TrialConfig)[part.name])
    for field in fields(hint)
    if (part.name, field.name) != ("evaluation", "judge")  # a part of its own, below
]


@pytest.mark.parametrize(("part", "name"), FIELDS)
def test_every_field_counts_but_places(config, part, name):
    new = changed(config, part, name)
    assert getattr(getattr(new, part), name) != getattr(getattr(config, part), name)
    same = fingerprints(new, model="m", data="d")[0] == fingerprints(config, model="m", data="d")[0]
    is_place = (part == "data" and name in PLACES) or (
        part == "model" and name in ("name", "revision")
    )
    assert same == is_place


def test_all_parts_were_tried():
    assert {part for part, _ in FIELDS} == {"model", "data", "training", "retention", "evaluation"}
    assert {f.name for f in fields(TrialConfig)} == {*dict(FIELDS), "method", "stage", "seed"}


def test_the_judge_counts_where_it_is_asked_and_by_what_it_is_asked(config, tmp_path):
    def of(metrics=("bleu", "judge"), **changes):
        judge = replace(config.evaluation.judge, endpoint="http://x/v1", model="m")
        judge = replace(judge, **changes)
        asked = replace(config.evaluation, metrics=list(metrics), judge=judge)
        return fingerprints(replace(config, evaluation=asked), model="m", data="d")[0]

    rubric = tmp_path / "rubric.txt"
    rubric.write_text("one")
    one = of(rubric=str(rubric))
    (tmp_path / "copy.txt").write_text("one")
    assert of(rubric=str(tmp_path / "copy.txt")) == one
    rubric.write_text("two")
    changed = [of(rubric=str(rubric)), of(model="n"), of(endpoint="http://y/v1"), of()]
    assert len({one, *changed, of(scale=[0.0, 1.0]), of(temperature=1.0)}) == 7
    for free in ({"concurrency": 9}, {"timeout_seconds": 1.0}, {"during_search": True}):
        assert of(**free) == of()
    assert of(["bleu"], model="n") == of(["bleu"]), "nobody is asked"


def test_a_metric_script_counts_by_its_content(config, tmp_path):
    def of(path):
        asked = replace(config.evaluation, metrics=["bleu", str(path)])
        return fingerprints(replace(config, evaluation=asked), model="m", data="d")[0]

    script = tmp_path / "mine.py"
    script.write_text("a = 1")
    before = of(script)
    script.write_text("a = 2")
    assert of(script) != before


def test_content_method_stage_and_seed_count(config):
    own = fingerprints(config, model="m", data="d")
    others = [
        fingerprints(config, model="m2", data="d"),
        fingerprints(config, model="m", data="d2"),
        fingerprints(replace(config, method={**config.method, "r": 3}), model="m", data="d"),
        fingerprints(
            replace(config, method={**config.method, "name": "qlora"}), model="m", data="d"
        ),
    ]
    assert len({own, *others}) == 5
    assert len({x for pair in [own, *others] for x in pair}) == 10
    for new in (replace(config, seed=1), replace(config, stage="confirm")):
        assert fingerprints(new, model="m", data="d")[0] != own[0]
        assert fingerprints(new, model="m", data="d")[1] == own[1], "the configuration is the same"


def test_where_and_on_what_it_runs_does_not_count():
    """Folders, devices, workers, tracking: not part of a TrialConfig, nor of its hash."""
    here = composed("method=lora", "launcher.workers=1", "runs_dir=a")[1]["lora"].trial({})
    there = composed("method=lora", "launcher.workers=7", "runs_dir=b", "name=x", "plan=true")[1]
    assert fingerprints(here, model="m", data="d") == fingerprints(
        there["lora"].trial({}), model="m", data="d"
    )


def test_canonical():
    assert digest({"a": 1, "b": [2.0]}) == digest({"b": [2.0], "a": 1})
    assert len(digest({}, 6)) == 6
    assert digest({"a": "1"}) != digest({"a": 1})
