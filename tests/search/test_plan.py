"""The planned cost of a sweep is its number of trials times the measured cost of one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from sweeping import FakeLauncher, composed

from harness.data.rows.splits import read_splits
from harness.records.footprint import Footprint
from harness.search.planning.ask_worker import NoWorkerAnswered
from harness.search.planning.expected_cost import expected_cost, unmeasured
from harness.search.planning.measurer import Measurer
from harness.search.planning.memory_fit import find_needs
from harness.search.planning.needs import MeasuredConfig, MethodMemory
from harness.search.planning.show import held_out, memory_table

SWEEP = ("name=s", "search.trials=10", "confirm.finalists=2", "confirm.seeds=3", "tracking=none")
# 100 steps of 0.5 s, 6 s of scoring, 4 s of answers: a minute.
ONE = Footprint("toy GPU", 80.0, 100, 20.0, 10.0, 2.0, 4.0, 4.0, 8, 0.5, 6.0, 4.0, 300.0)


def told(*arguments, workers=1, **changes):
    """By their first words: trials are 16 of each of two methods, 32 minutes."""
    sweep, plans = composed(*SWEEP, "method=lora,full", *arguments)
    footprints = {"lora": ONE, "full": Footprint(**(vars(ONE) | changes))}
    needs = {
        name: MethodMemory([MeasuredConfig({}, found, None)], {}, [])
        for name, found in footprints.items()
    }
    return dict(expected_cost(sweep, list(plans.values()), needs, workers))


def test_time_energy_and_price_of_all_trials():
    lines = told("launcher.price_per_hour=3")
    assert "about 27 min of training and at most 5 min of evaluation with 1 worker" in lines["time"]
    assert "0.53 device-hours" in lines["time"], "32 minutes"
    assert "about 0.16 kWh" in lines["energy"], "300 W for them"
    assert "about 1.60 at 3 a device-hour" in lines["price"]
    assert "for 4 workers on each device" in lines["room"], "80 GB, 20 each"


def test_workers_share_the_time_and_devices_multiply_what_it_costs():
    assert "about 13 min of training" in told(workers=2)["time"]
    both = told("launcher.devices_per_trial=2", "launcher.price_per_hour=3")
    assert "1.1 device-hours" in both["time"] and "about 3.20 at" in both["price"]


@pytest.mark.parametrize("word", ["energy", "price"])
def test_what_nobody_says_is_not_told(word):
    assert word not in told(watts=None)


def test_a_method_that_is_left_out_costs_nothing():
    sweep, plans = composed(*SWEEP, "method=lora,full")
    left_out = MethodMemory([MeasuredConfig({}, ONE, "too large")], {}, [], "too large")
    needs = {"lora": MethodMemory([MeasuredConfig({}, ONE, None)], {}, []), "full": left_out}
    ((_, line), *_) = expected_cost(sweep, list(plans.values()), needs, 1)
    assert "0.27 device-hours" in line, "16 minutes"


def test_where_nothing_was_measured_nothing_is_told():
    sweep, plans = composed(*SWEEP, "method=lora,full")
    nothing = dict.fromkeys(("lora", "full"), MethodMemory([], {}, []))
    assert expected_cost(sweep, list(plans.values()), nothing, 1) == []


def test_a_terminal_of_80_columns_shows_methods_and_their_values_whole():
    _, plans = composed(*SWEEP, "method=lora,full", "method.r=choice(8,128)")
    found = {"lora": [{"method.r": 8}, {"method.r": 128}], "full": [{}]}
    measured = [
        (plans[name], [MeasuredConfig(values, ONE, None) for values in each])
        for name, each in found.items()
    ]
    console = Console(width=80, file=io.StringIO())
    console.print(memory_table(measured, roomy=False))
    lines = [line.strip() for line in console.file.getvalue().splitlines()]
    assert "lora" in lines and "full" in lines
    assert [line.split()[0] for line in lines if "20,000.0" in line] == ["r=8", "r=128", "as"]
    assert any(line.startswith("as configured ") for line in lines)


def test_a_sample_of_the_validation_rows_is_measured_unless_a_limit_is_typed(tmp_path):
    rows = "".join(f'{{"prompt": "p{n}", "answer": "a"}}\n' for n in range(1600))
    (tmp_path / "rows.jsonl").write_text(rows)
    said = []
    for typed in ((), ("data.validation_limit=null",), ("data.validation_limit=1200",)):
        given = (
            "data=jsonl",
            f"data.train={tmp_path / 'rows.jsonl'}",
            "data.validation_fraction=0.8",
        )
        _, plans = composed(*SWEEP, "method=lora", *given, *typed)
        data = plans["lora"].trial({}).data
        splits = read_splits(data)
        said.append(held_out(splits, data))
        places = [int(example.prompt.strip()[1:]) for example in splits.validation]
        assert max(places[:1000]) > 1100, "at random, not the first"
    assert said == [
        "1,000 examples, a random sample of 1,280 (data.validation_limit=1000); test 160",
        "1,280 examples; test 160",
        "1,200 examples, a random sample of 1,280 (data.validation_limit=1200); test 160",
    ]


def test_an_error_in_one_methods_steps_is_its_own(tmp_path, monkeypatch):
    """Its trials are run and fail for themselves; time and memory are those of the others."""
    from harness.search.planning import measurer

    def ask(launcher, tasks, retries):
        specs = list(tasks.values())
        if any(c["method"]["name"] == "full" for spec in specs for c in spec["configs"]):
            (tmp_path / "error.txt").write_text("Traceback\nRuntimeError: no kernel for this shape")
            raise NoWorkerAnswered(1, 1, tmp_path)
        return [{"footprints": [vars(ONE)] * len(spec["configs"])} for spec in specs]

    monkeypatch.setattr(measurer, "ask", ask)
    sweep, plans = composed(*SWEEP, "method=lora,full")
    measure = Measurer(sweep, FakeLauncher(), type("Folder", (), {"path": tmp_path}))
    needs = find_needs(list(plans.values()), sweep, 2, measure)
    assert needs["lora"].left_out == needs["full"].left_out == []
    (line,) = unmeasured(needs)
    assert line.startswith("full:") and "RuntimeError: no kernel for this shape" in line
    cost = dict(expected_cost(sweep, list(plans.values()), needs, 1))
    assert "0.27 device-hours" in cost["time"] and "for 4 workers" in cost["room"]
    console = Console(width=80, file=io.StringIO())
    console.print(memory_table([(plan, needs[name].measured) for name, plan in plans.items()]))
    assert "toy GPU (80.0 GB to give)" in " ".join(console.file.getvalue().split())
