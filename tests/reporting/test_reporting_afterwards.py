"""After training, in the report: there where it was asked for, nowhere else, and nothing unescaped."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from scripts_of_a_page import without_scripts

from harness.records import Measurement, Outcome, read_record, write_json, write_record
from harness.reporting import build_report
from harness.reporting.evidence.candidate_set import candidate_set
from harness.reporting.evidence.folders.run_folder import load_run
from harness.reporting.evidence.updates import looked_at_again, path_of

EVIL = "<script>alert(1)</script>"
KINDS = ("self_attn.q_proj", "mlp.up_proj")


def measured(**values: float) -> dict[str, Measurement]:
    names = {"bleu": "test.bleu", "kl": "forgetting.kl"}
    found = {names[k]: Measurement(v, "", 9, (v - 1, v + 1), "s") for k, v in values.items()}
    return found


def matrices(drift: float) -> list[dict]:
    """Two layers, two kinds, ranks 4 and 2; the last is the most changed."""
    rows = []
    for i, (layer, kind) in enumerate((layer, kind) for layer in (0, 1) for kind in KINDS):
        rows.append(
            {
                "name": f"model.layers.{layer}.{kind}.weight",
                "layer": layer,
                "kind": kind,
                "drift": drift * (1 + i),
                "effective_rank": 3.1,
                "stable_rank": 1.5,
                "amplification": 2.0,
                "overlap": 0.1,
                "intruders": i,
                "leading": 10,
                "singular_values": [3.0, 1.0, 0.2],
            }
        )
    return rows


@pytest.fixture(scope="module")
def asked(sweep_folder, tmp_path_factory):
    """The synthetic sweep, the first seeds of lora and prompt_tuning looked at again."""
    folder = tmp_path_factory.mktemp("asked") / "asked"
    shutil.copytree(sweep_folder, folder)
    for method in ("lora", "prompt_tuning"):
        trial = next(p for p in sorted((folder / "trials" / method).glob("*confirm-101-*")))
        record = read_record(trial)
        assert record is not None
        if method == "lora":
            difference = Measurement(2.4e-6, "logits", 256, None, "s")
            merged = {**measured(bleu=40.0, kl=0.03), "merged.max_logit_difference": difference}
            summary = {
                "update.relative_norm": Measurement(0.0123, "share", 9, None, "s"),
                "update.effective_rank": Measurement(3.1, "", 4, None, "s"),
                "update.intruders": Measurement(6.0, "directions", 4, None, "s"),
            }
            outcomes = {
                "merged": Outcome(merged, 4_800_000, f"in merged/ {EVIL}", 1234.5),
                "interpolated 0.75": Outcome(measured(bleu=38.0, kl=0.02), 4_800_000, "mixed"),
                "interpolated 0.25": Outcome(measured(bleu=31.5, kl=0.004), 4_800_000, "mixed"),
                "quantized nf4": Outcome(note="out of memory: too large"),
                "update": Outcome(summary),
                "speed": Outcome(speed(trained=1000.0, merged=1240.0)),
            }
            ranks = {f"model.layers.{i}.{k}": i + 3 for i in (0, 1) for k in KINDS}
            says = {"ranks": {**ranks, EVIL: 2}, "importance": {f"g {EVIL}": 0.4, "norms": -0.1}}
            provenance = {**record.provenance, "method": says}
            record = replace(record, afterwards=outcomes, provenance=provenance)
            write_json(trial / "update.json", {"matrices": matrices(0.01)})
        else:
            why = "not possible, there is no merged model: virtual tokens"
            slow = Outcome(speed(trained=900.0), note="virtual tokens precede the input")
            record = replace(record, afterwards={"merged": Outcome(note=why), "speed": slow})
        write_record(trial, record)
    return folder


def speed(**rates):
    return {
        f"{name}.tokens_per_second": Measurement(rate, "tokens/s", 32, None, "s")
        for name, rate in rates.items()
    }


@pytest.fixture(scope="module")
def report(asked, tmp_path_factory):
    return build_report(asked, tmp_path_factory.mktemp("reports"))


def test_sections_are_there_only_where_there_is_something(report, report_folder):
    without = without_scripts((report_folder / "index.html").read_text())
    page = without_scripts((report / "index.html").read_text())
    for section in ("afterwards", "weights"):
        assert f'id="{section}"' in page
        assert f'id="{section}"' not in without
    assert page.count("<svg") == without.count("<svg") + 5
    assert "## After training" not in (report_folder / "report.md").read_text()
    assert json.loads((report_folder / "report.json").read_text())["afterwards"] == []


def test_every_outcome_is_a_row_with_its_numbers_or_its_reason(report):
    said = (report / "report.md").read_text()
    table = said[said.index("## After training") : said.index("## What changed")]
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert [line.split("|")[3].strip(" *") for line in rows].count("as trained") == 2
    merged = next(line for line in rows if "| merged |" in line and "4.8 MB" in line)
    assert r"40.0 \[39.0, 41.0\]" in merged and "| 4.8 MB | 1,234 |" in merged
    assert "logits differ by at most 2.4e-6" in merged
    assert any("| – | – | – | out of memory: too large |" in line for line in rows)
    assert any("| – | – | – | not possible, there is no merged model" in line for line in rows)
    assert not any("| update |" in line for line in rows)
    weights = said[said.index("## What changed in the weights") :].split("\n## ")[0]
    assert "1.23 %" in weights and "6 of 40" in weights
    assert weights.count("| lora |") == 1 and "prompt_tuning" not in weights
    saved = json.loads((report / "report.json").read_text())["afterwards"]
    assert [entry["method"] for entry in saved] == ["lora", "prompt_tuning"]
    assert saved[0]["outcomes"]["merged"]["measurements"]["test.bleu"]["value"] == 40.0


def test_speed_is_shown_merged_and_not_with_its_answers_and_reasons(report, report_folder):
    said = (report / "report.md").read_text()
    table = said[said.index("## Speed of generation") :].split("\n## ")[0]
    lora, prompt = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert "| 1,000 | 1,240 | +24 % | 32 |" in lora.replace("*", "")
    assert "| 900 | – | – | 32 | virtual tokens precede the input |" in prompt.replace("*", "")
    assert "Measured on cpu" in table and "| speed |" not in said
    assert "Speed of generation" not in (report_folder / "report.md").read_text()


def test_the_path_begins_at_the_base_and_ends_at_the_merged_model(asked):
    candidates = candidate_set(load_run(asked))
    lora, prompt = looked_at_again(candidates)
    base = lora.row.record.base["test.bleu"].value
    assert path_of(lora, "test.bleu", "forgetting.kl") == [
        (0.0, base, 0.0), (0.25, 31.5, 0.004), (0.75, 38.0, 0.02), (1.0, 40.0, 0.03),
    ]  # fmt: skip
    assert path_of(prompt, "test.bleu", "forgetting.kl") == []


def test_nothing_of_it_is_unescaped(report):
    page = without_scripts((report / "index.html").read_text())
    assert "<script" not in page.lower()
    assert page.count("&lt;script&gt;") >= 2  # the note in the table, the group in the figure
    assert "<script" not in (report / "report.md").read_text()


def test_a_report_without_the_matrices_has_the_table(asked, tmp_path):
    shutil.copytree(asked, tmp_path / "run")
    for path in (tmp_path / "run").rglob("update.json"):
        path.write_text('{"matrices": [{"kind": 3}, 7, ')
    folder = build_report(tmp_path / "run", tmp_path / "reports")
    page = (folder / "index.html").read_text()
    assert "1.23 %" in page and 'aria-label="Relative size of the update' not in page
