"""Report of losses and gains outside the task: each number with its sign."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from harness.records import Measurement
from harness.reporting.evidence.candidate_set import candidate_set
from harness.reporting.evidence.equal_quality import matched_quality
from harness.reporting.evidence.folders.run_folder import load_run
from harness.reporting.formats.content import gather
from harness.reporting.formats.page import render
from harness.reporting.tables.forgetting_tables import forgetting_tables
from harness.reporting.verdict.measured_cautions import retention_cautions
from harness.statistics.scores import aggregate

N = 20


def statistics(rng):
    nll, base = 50 + rng.normal(size=N), np.full(N, 50.0)
    ones = np.ones(N)
    passed = np.zeros((N, 3))
    passed[:, 2] = 1
    passed[:12, 1] = 1  # the base follows 12 of 20
    passed[4:14, 0] = 1  # the tuned model 10: 2 gained, 4 lost
    return {
        "forgetting.nll_lost": np.stack([np.maximum(nll, base), 10 * ones, base], axis=1),
        "forgetting.nll_gained": np.stack([base, 10 * ones, np.minimum(nll, base)], axis=1),
        "forgetting.nll": np.stack([nll - 2, 10 * ones, base], axis=1),  # easier, as a whole
        "forgetting_from_quantized.nll": np.stack([nll - 5, 10 * ones, base], axis=1),
        "forgetting.instructions": passed,
        "instructions.prompts": passed[:, [0, 2]],
        "agreement.exact_match": (np.arange(N) < 5).astype(float)[:, None],
    }


@pytest.fixture(scope="module")
def content(sweep_folder, tmp_path_factory):
    """The synthetic sweep, as if its finalists had been asked everything."""
    folder = tmp_path_factory.mktemp("runs") / "demo"
    shutil.copytree(sweep_folder, folder)
    rng = np.random.default_rng(0)
    for file in sorted(folder.glob("trials/*/*/record.json")):
        record = json.loads(file.read_text())
        if record["stage"] != "confirm" or record["status"] != "complete":
            continue
        lines = []
        for name, columns in statistics(rng).items():
            if name.startswith("forgetting_from") and record["method"] != "qlora":
                continue
            value = float(aggregate(name, columns))
            record["measurements"][name] = Measurement(value, "", N, None, name).to_json()
            lines.append(json.dumps({"measurement": name, "statistics": columns.tolist()}))
        base = Measurement(0.6, "", N, None, "base").to_json()
        record["base"]["instructions.prompts"] = base
        record["provenance"]["steps"] = 100
        record["provenance"]["selected"] = {
            "step": 75,
            "by": "validation.perplexity",
            "why": "the best quality with forgetting.kl of at most <0.1>",
        }
        file.write_text(json.dumps(record))
        items = file.parent / "items.jsonl"
        kept = [  # the synthetic run has its own forgetting.nll
            line
            for line in items.read_text().splitlines()
            if json.loads(line)["measurement"] != "forgetting.nll"
        ]
        items.write_text("\n".join([*kept, *lines]) + "\n")
    return gather(load_run(folder))


def cells(table, method):
    for row in table.rows:
        if row[0].text == method:
            return dict(zip(table.headers, [cell.text for cell in row], strict=True))
    raise AssertionError(f"no row of {method}")


def test_signs_levels_and_the_exact_p(content):
    tables = dict(content.lost)
    text = cells(tables["Losses and gains on general text"], "lora")
    assert text["Net (NLL rise)"].startswith("−")  # gained, and said to be
    assert text["NLL lost"][0] != "−" and text["NLL gained"][0] != "−"
    told = cells(tables["Instructions, and agreement with the base's answers"], "lora")
    assert told["Prompts followed"] == "50.0 %"
    assert told["by the base"] == "60.0 %"
    assert told["Change, points"].startswith("−10.0 [")
    assert (told["Gains"], told["Losses"]) == ("2", "4")
    assert told["McNemar p"] == "0.69"  # 2 · (1 + 6 + 15) / 2⁶
    assert told["Same continuation, %"].startswith("25.0 [")
    chosen = cells(tables["Selected step of each run"], "lora")
    assert set(chosen["Step, by seed"].split(", ")) == {"75"}
    assert chosen["of"] == "100"


def test_quantization_and_training_add_up(content):
    tables = dict(content.lost)
    table = tables["Cost of quantization and of training"]
    assert {row[0].text for row in table.rows} == {"qlora"}
    row = cells(table, "qlora")

    def value(header):
        return float(row[header].split()[0].replace("−", "-"))

    assert value("NLL rise, total") == pytest.approx(
        value("by quantization") + value("by training"), abs=2e-3
    )
    assert value("by quantization") == pytest.approx(0.3)  # (−2 + 5) nats in ten tokens


def test_on_the_page_and_escaped(content):
    page = render(content)
    assert "Losses and gains on general text" in page
    assert "at most &lt;0.1&gt;" in page


def test_nothing_measured_nothing_shown(sweep_folder):
    assert forgetting_tables(candidate_set(load_run(sweep_folder)), None) == []


def test_methods_are_compared_at_the_quality_that_all_reach(report_folder, sweep_folder):
    report = json.loads((report_folder / "report.json").read_text())
    found = report["forgetting_at_quality"]
    assert found["quality"] == "validation.bleu" and found["forgetting"] == "forgetting.kl"
    best: dict[str, float] = {}
    for trial in report["trials"]:
        if (trial["stage"], trial["status"]) == ("search", "complete"):
            bleu = trial["measurements"]["validation.bleu"]
            best[trial["method"]] = max(bleu, best.get(trial["method"], 0.0))
    worst = min(best, key=lambda method: best[method])
    assert found["levels"][0] == pytest.approx(best[worst] - 1)  # the margin of BLEU
    assert found["levels"][-1] == pytest.approx(max(best.values()) - 1)
    for method, at in found["by_method"].items():
        assert at[0]["low"] <= at[0]["value"] and at[0]["reached"] > 0.5
        for level, one in zip(found["levels"], at, strict=True):
            assert (one["value"] is None) == (best[method] < level)
    page = (report_folder / "index.html").read_text()
    for text in (page, (report_folder / "report.md").read_text()):
        assert "Forgetting at equal quality, in the search" in text
        assert "not reached" in text and "not confirmed" in text


def test_no_comparison_at_equal_quality_of_one_method_or_one_objective(sweep_folder):
    run = load_run(sweep_folder)
    sweep = run.sweep
    assert matched_quality(run) is not None
    assert matched_quality(replace(run, sweep=replace(sweep, methods=("lora",)))) is None
    alone = replace(sweep, objectives=sweep.objectives[:1])
    assert matched_quality(replace(run, sweep=alone)) is None


@pytest.mark.parametrize(
    ("retention", "replay", "judged", "words"),
    [
        ({"kl_weight": 0.3}, "a.txt", "forgetting.kl", "lora: retention.kl_weight trained on"),
        (
            {"replay_share": 0.25},
            "a.txt",
            "forgetting.kl",
            "lora: retention.replay_share trained on",
        ),
        (
            {"kl_weight": 0.3, "kl_on": "target"},
            None,
            "drift.kl_target",
            "lora: retention.kl_weight with kl_on=target keeps down drift",
        ),
        ({"kl_weight": 0.3}, "b.txt", "forgetting.kl", None),
        ({"kl_weight": 0.3, "kl_on": "target"}, None, "forgetting.kl", None),
        ({"l2_sp_weight": 0.03}, "a.txt", "forgetting.kl", None),
    ],
)
def test_training_on_what_is_judged_is_said(sweep_folder, retention, replay, judged, words):
    candidates = candidate_set(load_run(sweep_folder))
    for candidate in candidates.members:
        if candidate.method == "lora":
            config = candidate.rows[0].record.config
            config["retention"], config["data"] = retention, {"replay": replay, "general": "a.txt"}
    found = retention_cautions(replace(candidates, forgetting=judged))
    assert len(found) == (words is not None)
    assert words is None or found[0].startswith(words)
