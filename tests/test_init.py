"""``harness init``: the file that it writes is the sweep that was typed."""

from __future__ import annotations

import pytest
import yaml

from harness.compose.command_line import compose_from_data
from harness.init import main

TYPED = (
    "method=full,lora",
    "training.max_steps=10",
    "training.learning_rate=tag(log,interval(1e-4,1e-2))",
    "training.batch_size=choice(4,8)",
    'data.prompt_template="{question}\\n=> "',
    "confirm.seeds=5",
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faq 1.csv").write_text("question,answer\nwhen?,now\nwhere?,here\n" * 9, "utf-8")
    return tmp_path


def test_the_file_composes_to_what_was_typed(here, capsys):
    assert main(["faq 1.csv", *TYPED]) == 0
    assert "sweep=faq1 plan=true" in capsys.readouterr().out
    text = (here / "my_sweeps/sweep/faq1.yaml").read_text("utf-8")
    assert "# of training; what evaluation takes is a figure of its own" in text
    assert max(map(len, text.splitlines())) <= 100

    sweep, plans, taken = compose_from_data(["data.train='faq 1.csv'", *TYPED])
    again, others, none = compose_from_data(["--config-dir=my_sweeps", "sweep=faq1"])
    assert taken and not none
    assert again == type(sweep)(**{**vars(sweep), "name": again.name})
    for plan, other in zip(plans, others, strict=True):
        assert plan.method == other.method
        assert plan.trial({}) == other.trial({})
        assert plan.space == other.space


def test_no_file_is_overwritten(here, capsys):
    arguments = ["faq 1.csv", "folder=f", "name=n"]
    assert main(arguments) == 0 and main(arguments) == 2
    assert "exists already" in capsys.readouterr().err
    assert yaml.safe_load((here / "f/sweep/n.yaml").read_text("utf-8"))["methods"] == ["lora"]


def test_wrong_input_leaves_no_file(here, capsys):
    assert main(["faq 1.csv", "lr=3"]) == 2
    assert "Did you mean training.learning_rate?" in capsys.readouterr().err
    assert not (here / "my_sweeps").exists()
