"""A study is asked and told; stopped, lost or torn, it goes on as if nothing had been."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from sweeping import CONTENT, composed, measurement, record_of

from harness.config import LimitsConfig
from harness.errors import InputError
from harness.records.fingerprint import fingerprints
from harness.search.optuna_studies.storage import open_storage
from harness.search.optuna_studies.study import MethodStudy
from harness.trials.job import Job

optuna.logging.set_verbosity(optuna.logging.WARNING)
TRIALS = 10
SPACE = (
    "method=lora",
    "method.r=choice(2,4,8,16)",
    "training.learning_rate=tag(log,interval(1e-4,1e-2))",
    "training.weight_decay=interval(0.0,0.1)",
    "method.target_modules=choice([q_proj],[q_proj,v_proj],all-linear)",
    f"search.trials={TRIALS}",
)


@pytest.fixture(scope="module")
def setting():
    sweep, plans = composed(*SPACE)
    return sweep, plans["lora"]


def study_in(folder, setting):
    sweep, plan = setting
    folder.mkdir(exist_ok=True)
    return MethodStudy(plan, sweep, open_storage(sweep, folder))


def record_for(setting, proposal, **changes):
    sweep, plan = setting
    config = plan.trial(proposal.values, seed=sweep.seed, stage="search")
    fingerprint, configuration = fingerprints(config, model=CONTENT[0], data=CONTENT[1])
    job = Job(
        folder="",
        cache="",
        method=plan.method,
        config=config,
        limits=LimitsConfig(None, None, None, None),
        trial=proposal.number,
        attempt=1,
        fingerprint=fingerprint,
        configuration=configuration,
        overrides=(),
        searched={},
        asks_pruner=False,
        keep_adapter=False,
    )
    return record_of(job, **changes)


def advance(study, setting, n, **changes):
    """``n`` trials asked and told: the proposals and the records."""
    proposals, records = [], []
    for _ in range(n):
        proposals.append(study.ask())
        records.append(record_for(setting, proposals[-1], **changes))
        study.tell(proposals[-1].number, records[-1])
    return proposals, records


@pytest.fixture(scope="module")
def undisturbed(setting, tmp_path_factory):
    return advance(study_in(tmp_path_factory.mktemp("study"), setting), setting, TRIALS)


def test_distributions(setting, undisturbed, tmp_path):
    study = study_in(tmp_path, setting)
    study.ask()
    (trial,) = optuna.load_study(
        study_name=None, storage=f"sqlite:///{tmp_path}/study.db"
    ).get_trials()
    assert trial.distributions == {
        "method.r": CategoricalDistribution([2, 4, 8, 16]),
        "training.learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
        "training.weight_decay": FloatDistribution(0.0, 0.1),
        "method.target_modules": CategoricalDistribution(
            ['["q_proj"]', '["q_proj", "v_proj"]', "all-linear"]
        ),
    }
    for proposal in undisturbed[0]:
        for key, value in proposal.values.items():
            assert setting[1].space[key].contains(value)
    modules = [p.values["method.target_modules"] for p in undisturbed[0]]
    assert ["q_proj"] in modules or ["q_proj", "v_proj"] in modules, "lists come back as lists"


def test_whole_numbers(tmp_path):
    sweep, plans = composed("method=lora", "method.r=tag(int,log,interval(2,64))")
    study = MethodStudy(plans["lora"], sweep, open_storage(sweep, tmp_path))
    ranks = [study.ask().values["method.r"] for _ in range(6)]
    assert all(isinstance(r, int) and 2 <= r <= 64 for r in ranks) and len(set(ranks)) > 2
    trials = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/study.db").trials
    assert trials[0].distributions["method.r"] == IntDistribution(2, 64, log=True)


def test_the_first_trial_is_the_methods_own(setting, undisturbed, tmp_path):
    own = setting[1].trial({})
    first = undisturbed[0][0].values
    assert first["method.r"] == own.method["r"] == 8
    assert first["training.learning_rate"] == own.training.learning_rate == 3e-3
    assert first["method.target_modules"] == "all-linear"
    sweep, plans = composed("method=lora", "method.r=choice(2,4)")  # 8 does not lie in it
    values = MethodStudy(plans["lora"], sweep, open_storage(sweep, tmp_path)).ask().values
    assert values["method.r"] in (2, 4) and values["training.learning_rate"] == 3e-3


def test_two_fresh_studies_propose_the_same(setting, undisturbed, tmp_path):
    assert advance(study_in(tmp_path, setting), setting, TRIALS)[0] == undisturbed[0]
    other = replace(setting[0], seed=1), setting[1]
    theirs = advance(study_in(tmp_path / "other", other), other, 4)[0]
    assert theirs[0] == undisturbed[0][0] and theirs[1] != undisturbed[0][1]


@pytest.mark.parametrize(
    ("k", "loss"),
    [(1, "closed"), (7, "closed"), (7, "deleted"), (1, "garbage"), (7, "torn")],
)
def test_a_rebuilt_study_proposes_the_same_trials(setting, undisturbed, tmp_path, capsys, k, loss):
    _, records = advance(study_in(tmp_path, setting), setting, k)
    database = tmp_path / "study.db"
    if loss == "deleted":
        database.unlink()
    elif loss == "garbage":
        database.write_bytes(b"this is no database" * 100)
    elif loss == "torn":
        database.write_bytes(database.read_bytes()[:5000])
    study = study_in(tmp_path, setting)
    assert study.recover({record.fingerprint: record for record in records}) == []
    assert study.told == k
    assert study.ask() == undisturbed[0][k]
    study.tell(k, undisturbed[1][k])
    assert advance(study, setting, TRIALS - k - 1)[0] == undisturbed[0][k + 1 :]
    if loss in ("garbage", "torn"):
        assert "is corrupt" in capsys.readouterr().out
        assert (tmp_path / "study.db.unreadable").exists()


def test_rebuilt_it_holds_the_same_trials(setting, undisturbed, tmp_path):
    def trials(folder):
        study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder}/study.db")
        return [(t.number, t.params, t.values, t.state) for t in study.trials]

    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    advance(study_in(tmp_path / "a", setting), setting, 6)
    records = {record.fingerprint: record for record in reversed(undisturbed[1][:6])}
    assert study_in(tmp_path / "b", setting).recover(records) == []
    assert trials(tmp_path / "b") == trials(tmp_path / "a")


def test_what_was_asked_and_not_told_is_there_again(setting, undisturbed, tmp_path):
    study = study_in(tmp_path, setting)
    _, records = advance(study, setting, 3)
    asked = study.ask()
    again = study_in(tmp_path, setting)
    assert again.recover({r.fingerprint: r for r in records}) == [asked] == [undisturbed[0][3]]


def test_killed_in_the_middle_of_asking(setting, undisturbed, tmp_path, monkeypatch):
    study = study_in(tmp_path, setting)
    _, records = advance(study, setting, 5)
    real, calls = optuna.trial.Trial._suggest, []

    def interrupt_at_third(self, name, distribution):
        calls.append(name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, name, distribution)

    monkeypatch.setattr(optuna.trial.Trial, "_suggest", interrupt_at_third)
    with pytest.raises(KeyboardInterrupt):
        study.ask()
    monkeypatch.undo()
    again = study_in(tmp_path, setting)
    assert again.recover({r.fingerprint: r for r in records}) == [undisturbed[0][5]]


@pytest.mark.parametrize("lost", [2, 4])
def test_a_lost_record_is_asked_for_again(setting, undisturbed, tmp_path, lost):
    study = study_in(tmp_path, setting)
    _, records = advance(study, setting, 5)
    known = {r.fingerprint: r for r in records if r.trial != lost}
    again = study_in(tmp_path, setting)
    assert again.recover(known) == [undisturbed[0][lost]]
    again.tell(lost, records[lost])  # told already: nothing changes
    assert again.told == 5
    assert again.ask() == undisturbed[0][5]
    (tmp_path / "study.db").unlink()  # and the study with it
    rebuilt = study_in(tmp_path, setting)
    assert rebuilt.recover(known) == ([undisturbed[0][lost]] if lost < 4 else [])


def test_what_was_not_measured_is_not_made_up(setting, tmp_path):
    study = study_in(tmp_path, setting)
    half = {"validation.bleu": measurement(3.0)}
    for changes in (
        {"measurements": half},
        {"measurements": {}, "status": "failed", "reason": "x"},
        {"measurements": half, "status": "diverged"},
        {"measurements": {}, "status": "pruned"},
        {"measurements": half, "status": "infeasible"},
    ):
        advance(study, setting, 1, **changes)
    trials = optuna.load_study(
        study_name=None, storage=f"sqlite:///{tmp_path}/study.db"
    ).get_trials()
    assert [t.state.name for t in trials] == ["FAIL", "FAIL", "FAIL", "PRUNED", "FAIL"]
    assert [t.values for t in trials] == [None] * 5
    assert study.told == 5, "they use up the budget all the same"
    advance(study, setting, 3)  # and the sampler goes on


def test_limits_are_constraints(tmp_path):
    sweep, plans = composed(
        *SPACE, "limits.forgetting=0.15", "limits.trainable_parameters=80", "limits.minutes=1"
    )
    setting = sweep, plans["lora"]
    study = study_in(tmp_path, setting)
    _, records = advance(study, setting, TRIALS)
    stored = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/study.db")
    for trial, record in zip(stored.trials, records, strict=True):
        assert dict(trial.constraints) == pytest.approx(
            {
                "forgetting": record.value("forgetting.kl") / 0.15 - 1,
                "trainable_parameters": record.cost["trainable_parameters"] / 80 - 1,
                "minutes": 1 / 60 - 1,
            }
        )
    assert all(t.params["method.r"] <= 8 for t in stored.best_trials)
    assert len({t.params["method.r"] for t in stored.trials}) > 2


def test_one_objective(tmp_path):
    sweep, plans = composed(*SPACE, "objectives={bleu:maximize}")
    setting = sweep, plans["lora"]
    _, records = advance(study_in(tmp_path, setting), setting, TRIALS)
    stored = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/study.db")
    assert stored.direction.name == "MAXIMIZE"
    assert stored.best_value == max(r.value("validation.bleu") for r in records)


def test_random_sampler_is_seeded_too(tmp_path):
    sweep, plans = composed(*SPACE, "search.sampler=random")
    setting = sweep, plans["lora"]
    first = advance(study_in(tmp_path / "a", setting), setting, 5)[0]
    study = study_in(tmp_path / "b", setting)
    theirs = advance(study, setting, 2)[0]
    theirs += advance(study_in(tmp_path / "b", setting), setting, 3)[0]
    assert theirs == first


def test_a_storage_of_ones_own(tmp_path):
    url = f"sqlite:///{tmp_path}/elsewhere.db"
    sweep, plans = composed(*SPACE, f"search.storage={url}")
    setting = sweep, plans["lora"]
    (tmp_path / "runs").mkdir()
    proposals, records = advance(study_in(tmp_path / "runs", setting), setting, 3)
    assert not (tmp_path / "runs" / "study.db").exists()
    assert sqlite3.connect(tmp_path / "elsewhere.db").execute("select count(*) from trials")
    again = study_in(tmp_path / "runs", setting)
    assert again.recover({r.fingerprint: r for r in records}) == [] and again.told == 3
    lost = study_in(tmp_path / "runs", setting).recover({})  # the records are what counts
    assert lost == proposals


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////no/such/folder/study.db", "foo://u@h/d"])
def test_a_storage_that_is_none(tmp_path, url):
    sweep, _ = composed("method=full", f"search.storage='{url}'")
    with pytest.raises(InputError, match=r"search\.storage"):
        open_storage(sweep, tmp_path)
