"""Ready sweeps: each composes as it stands, says what it asks, and takes data of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweeping import composed

from harness.__main__ import main
from harness.compose.command_line import conf_dir

ROOT = Path(__file__).parents[2]
READY = sorted(path.stem for path in (ROOT / "sweeps").glob("*.yaml"))
# Sweeps that repeat a published table, and the data that they need (sweep=e2e is part of the first).
PUBLISHED = {
    "rank_study_e2e": ("e2e=folder", "stories=file.txt"),
    "ulmfit_trec": ("trec=folder", "stories=file.txt"),
}


def test_what_is_ready_is_what_hydra_finds():
    assert sorted(path.stem for path in (conf_dir() / "sweep").glob("*.yaml")) == READY
    assert {"compare", "rank_study", "ulmfit_ablation"} <= set(READY)


@pytest.mark.parametrize("name", READY)
def test_a_ready_sweep_needs_no_further_key(name):
    sweep, plans = composed(f"sweep={name}")
    assert sweep.name.startswith(f"{name}-")
    for plan in plans.values():
        config = plan.trial({})
        assert config.data.source == "builtin" and config.model.name.startswith("builtin")


def test_ranks_are_studied_on_data_of_ones_own():
    """Every rank is tuned alike, in the range of a large model where it is one."""
    own = ("model=hub", "model.name=x", "data=csv", "data.train=x.csv", "data.general=general.txt")
    _, plans = composed("sweep=rank_study", *own, "data.prompt_column=q", "data.answer_column=a")
    assert [plan.trial({}).method["r"] for plan in plans.values()] == [1, 2, 4, 8, 16, 32, 64]
    for plan in plans.values():
        assert plan.trial({}).data.train == "x.csv"
        assert {key: str(space) for key, space in plan.space.items()} == {
            "training.learning_rate": "tag(log, interval(2e-05, 0.002))"
        }


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_table_takes_its_data(name):
    typed = (f"--config-dir={ROOT / 'bench'}", f"sweep={name}", "model.name=x")
    _, plans = composed(*typed, *PUBLISHED[name])
    for plan in plans.values():
        assert plan.trial({}).data.general == "file.txt"
        assert plan.trial({}).data.train.startswith("folder/")


@pytest.mark.parametrize("name", READY)
def test_help_of_a_sweep_is_its_question_and_its_cost(name, capsys):
    assert main(["sweep", f"sweep={name}", "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "Question: "
    ) and f"\nCommand:  python -m harness.sweep sweep={name}" in (
        said.replace("make sweep, or ", "")
    )
    assert "\nCost:     " in said and "methods:" not in said and "@package" not in said


def test_help_of_an_unknown_sweep_gets_the_nearest(capsys):
    assert main(["sweep", "sweep=rank_stdy", "--help"]) == 2
    assert "Unknown sweep 'rank_stdy'. Did you mean rank_study?" in capsys.readouterr().err
