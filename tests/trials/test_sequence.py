"""Two tasks, one after the other, for real: the matrix, what it says, and the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import trial
from harness.records import read_record

SMALL = (
    *(
        "data.train_limit=60",
        "data.validation_limit=5",
        "data.test_limit=8",
        "data.general_limit=2",
    ),
    *("evaluation.max_new_tokens=6", "evaluation.watched_examples=4"),
    "evaluation.bootstrap_resamples=100",
)


def arguments(folder, *more):
    return [
        *SMALL,
        *("method=lora", "training.max_steps=10", "training.learning_rate=1e-2", "name=two"),
        *(f"runs_dir={folder}/runs", f"reports_dir={folder}/reports"),
        *("stage=confirm", "evaluation.task_folder=null", "training.eval_every=10"),
        'sequence=[builtin,"builtin_domain data.general_limit=2"]',
        *more,
    ]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequence")
    assert trial.main(arguments(folder)) == 0
    return folder, json.loads((folder / "runs/two/sequence.json").read_text())


def test_the_matrix_is_what_the_trials_measured(done):
    """Each merged model on its own task: the record of the trial that made it says the same."""
    _, data = done
    assert data["tasks"] == ["builtin", "builtin_domain"]
    assert data["measurement"] == "test.bits_per_byte"  # plain text has no BLEU
    assert [stage["after"] for stage in data["stages"]] == [None, "builtin", "builtin_domain"]
    for place, stage in enumerate(data["stages"][1:]):
        record = read_record(Path(stage["folder"]))
        merged = record.afterwards["merged"].measurements["test.bits_per_byte"]
        assert stage["scores"][place]["value"] == pytest.approx(merged.value, rel=1e-5)
        assert stage["scores"][place]["interval"] is not None
        if place == 0:
            base = record.base["test.bits_per_byte"].value
            assert data["stages"][0]["scores"][0]["value"] == pytest.approx(base, rel=1e-6)
            kl = record.afterwards["merged"].measurements["forgetting.kl"].value
            assert stage["general"]["forgetting.kl"]["value"] == pytest.approx(kl, rel=1e-3)


def test_the_second_task_begins_where_the_first_ended(done):
    """And the first is forgotten a little: learned, it was better than after the second."""
    _, data = done
    second = read_record(Path(data["stages"][2]["folder"]))
    assert second.config["model"]["name"] == f"{data['stages'][1]['folder']}/merged"
    scores = [[s["value"] for s in stage["scores"]] for stage in data["stages"]]
    assert second.base["test.bits_per_byte"].value == pytest.approx(scores[1][1], rel=1e-6)
    assert scores[1][0] < scores[0][0] and scores[2][1] < scores[1][1]  # both were learned
    assert data["summary"] == {
        "ACC": pytest.approx(-(scores[2][0] + scores[2][1]) / 2),
        "BWT": pytest.approx(scores[1][0] - scores[2][0]),
        "FWT": pytest.approx(scores[0][1] - scores[1][1]),
        "F": pytest.approx(scores[2][0] - scores[1][0]),
    }


def test_the_page_says_the_conventions(done):
    folder, _ = done
    page = (folder / "reports/two/index.html").read_text()
    for words in ("BWT", "Chaudhry et al. 2018", "of its negative: less is better", "One seed"):
        assert words in page


def test_the_same_command_trains_nothing_again(done, capsys):
    folder, data = done
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("record.json")}
    assert trial.main(arguments(folder)) == 0
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("record.json")} == before
    assert json.loads((folder / "runs/two/sequence.json").read_text()) == data
    assert "ACC" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sequence=[builtin]", "needs a list of two data sets or more"),
        ("sequence=[builtin,nowhere]", "nowhere"),
        ("sequence=[builtin,builtin_topics]", "cannot hold a data set with data.label_column"),
        ("method=prompt_tuning", "cannot be used with method=prompt_tuning"),
        ("measure=bleu", "measure that all tasks of the sequence have 'bleu'"),
    ],
)
def test_what_cannot_be_a_sequence_is_said_before_anything_runs(tmp_path, capsys, change, message):
    key = change.split("=")[0]
    given = [a for a in arguments(tmp_path) if a.split("=")[0] != key]
    assert trial.main([*given, change]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
