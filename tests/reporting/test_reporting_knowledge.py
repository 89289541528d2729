"""Report of knowledge: a table of scores, and all answers side by side, escaped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic_run import PROFILES, Maker

from harness.records import Measurement, append_jsonl, read_record, write_record
from harness.reporting import build_report
from harness.reporting.evidence.candidate_set import candidate_set
from harness.reporting.evidence.folders.run_folder import load_run
from harness.reporting.evidence.ranking import ranked
from harness.reporting.formats.content import gather
from harness.reporting.tables.knowledge_table import LONGEST, knowledge

KINDS = 20 * ["new"] + 6 * ["old"] + 5 * ["unanswerable"]


def said(text: str, verdict: str, start: int = 0, end: int = 0, kept: bool | None = None) -> dict:
    return {
        **{"prompt": "Where?", "form": "completion", "text": text, "repetition": 0.0, "kept": kept},
        **{"verdict": verdict, "start": start, "end": end},
    }


def measured(value: float, model: str) -> Measurement:
    about = f"probes:own|form:{'chat' if 'chat' in model else 'completion'}|max_new_tokens:200"
    return Measurement(value, "share of probes", 20, (value - 0.1, value + 0.1), about)


def with_probes(folder, model: str, recalled: float) -> None:
    """Probes beside a trial: the tuned model's answers, and those of the base it started from."""
    record = read_record(folder)
    config = {**record.config, "model": {**record.config["model"], "name": model}}
    scores = {
        "probes.recalled": measured(recalled, model),
        "probes.repetition": measured(0.2, model),
    }
    base = {**record.base, "probes.recalled": measured(0.05, model)}
    write_record(
        folder,
        replace(record, config=config, measurements=record.measurements | scores, base=base),
    )
    column = np.repeat([1.0, 0.0], [round(20 * recalled), 20 - round(20 * recalled)])
    append_jsonl(
        folder / "items.jsonl",
        [{"measurement": "probes.recalled", "statistics": column[:, None].tolist()}],
    )
    right = said(f"It is <b>{model}</b> Karnholm." + 400 * "x", "recalled", 6, 20)
    wrong = said("<script>alert(1)</script> Ostrey", "invented", 26, 32, kept=False)
    rows = [
        {"completion": f"probe {i}", "chat": "Where?", "accepted": ["Karnholm"], "wrong": []}
        | {"kind": kind, "tuned": right, "base": wrong}
        for i, kind in enumerate(KINDS)
    ]
    append_jsonl(folder / "probes.jsonl", rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    maker = Maker(tmp_path_factory.mktemp("runs") / "probed", n=20)
    labels = {"base": "own/base", "chat": "own/chat"}
    maker.sweep(methods=list(labels))
    for label, model in labels.items():
        profile = replace(PROFILES[1], method=label, named="lora")
        maker.trial(profile, 0)
        with_probes(maker.trial(profile, 0, "confirm", 101), model, 0.6 if label == "base" else 0.3)
    return maker.folder


def test_four_models_in_the_order_bases_then_tuned(folder):
    run = load_run(folder)
    candidates = candidate_set(run)
    told = knowledge(candidates, ranked(candidates))
    assert [method for _, method in told.models] == [None, None, "base", "chat"]
    assert [name for name, method in told.models if method is None] == [
        "own/base, untouched",
        "own/chat, untouched",
    ]
    column = told.scores.headers.index("New facts recalled")
    values = [row[column].text.split()[0] for row in told.scores.rows]
    assert values == ["0.050", "0.050", "0.600", "0.300"]
    assert told.scores.rows[0][-1].text == "0 by definition"
    assert "Chat kept" not in told.scores.headers  # nobody was asked in a template


def test_two_models_are_said_to_be_two(folder):
    cautions = gather(load_run(folder)).recommendation.cautions
    assert any("started from 2 models (own/base, own/chat)" in line for line in cautions)
    assert not any("different ways" in line for line in cautions)  # asked in two forms, on purpose


def test_every_probe_is_shown_once(folder):
    run = load_run(folder)
    candidates = candidate_set(run)
    told = knowledge(candidates, ranked(candidates))
    assert len(told.shown) + len(told.others) == len(KINDS)
    assert [sum(one.kind == kind for one in told.shown) for kind in dict.fromkeys(KINDS)] == [
        8,
        4,
        4,
    ]
    first = told.shown[0].answers
    assert [answer.verdict for answer in first if answer] == 2 * ["invented"] + 2 * ["recalled"]
    assert first[0] and first[0].named == "Ostrey" and first[0].note
    assert first[2] and len(first[2].before + first[2].named + first[2].after) < LONGEST + 5


def test_the_page_escapes_what_models_say(folder, tmp_path):
    report = build_report(folder, tmp_path)
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page
    assert '<mark class="invented">Ostrey</mark>' in page
    assert page.count("What the models know") == 1
    assert "What the models know" in (report / "report.md").read_text(encoding="utf-8")


def test_without_probes_nothing_is_said(report_folder, sweep_folder):
    assert "What the models know" not in (report_folder / "index.html").read_text(encoding="utf-8")
    assert gather(load_run(sweep_folder)).knowledge.models == ()
