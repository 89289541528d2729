"""Files that survive: whole or absent; a torn line costs only itself; what is no number is refused."""

from __future__ import annotations

import json
import math
import os

import pytest

from harness.records import (
    Measurement,
    Record,
    append_jsonl,
    read_json,
    read_jsonl,
    read_record,
    write_json,
    write_record,
    write_text,
)

AWKWARD = "a\u2028b\u2029c\x85d\ve\ff ÅπŁ🜁"


def a_record(**changes):
    fields = dict(
        status="complete",
        stage="search",
        method="lora",
        trial=3,
        attempt=1,
        fingerprint="f" * 12,
        configuration="c" * 12,
        seed=0,
        config={"seed": 0, "method": {"name": "lora", "target_modules": ["q_proj"]}},
        overrides=["method=lora", "method.r=8"],
        measurements={"validation.bleu": Measurement(12.5, "BLEU points", 5, (10.0, 14.5), "s")},
        base={"validation.bleu": Measurement(1.25, "BLEU points", 5, None, "s")},
        cost={"train_seconds": 1.5},
        provenance={"note": AWKWARD},
    )
    return Record(**{**fields, **changes})


def test_a_record_comes_back_as_it_was(tmp_path):
    record = a_record(reason=None)
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"], "nothing is left aside"


@pytest.mark.parametrize("moment", ["while writing", "before the rename"])
def test_a_crash_leaves_the_old_file(tmp_path, monkeypatch, moment):
    path = tmp_path / "record.json"
    write_text(path, "old")

    def crash(*arguments):
        raise OSError("the power went")

    if moment == "while writing":
        monkeypatch.setattr(os, "fsync", crash)
    else:
        monkeypatch.setattr("pathlib.Path.replace", crash)
    with pytest.raises(OSError, match="power"):
        write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"


@pytest.mark.parametrize(
    "torn",
    [
        '{"status": "complete", "sta',
        "",
        "\0\0\0\0",
        "[]",
        "3",
        '{"status": "complete"}',
        '"text"',
    ],
)
def test_an_unreadable_record_is_set_aside_and_reported(tmp_path, capsys, torn):
    (tmp_path / "record.json").write_text(torn)
    assert read_record(tmp_path) is None
    assert "not readable" in capsys.readouterr().err
    assert (tmp_path / "record.json.unreadable").read_text() == torn
    assert read_record(tmp_path) is None  # and says no more
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("field", ["measurements", "base"])
def test_measurements_of_another_shape_are_no_record(tmp_path, field):
    data = a_record().to_json()
    data[field] = [1, 2]
    write_json(tmp_path / "record.json", data)
    assert read_record(tmp_path) is None


def test_bytes_that_are_not_utf8(tmp_path, capsys):
    (tmp_path / "record.json").write_bytes(b'{"a": "\xff\xfe"}')
    assert read_json(tmp_path / "record.json") is None
    assert "not readable" in capsys.readouterr().err


def test_torn_lines_cost_only_themselves(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_jsonl(path, [{"step": 1}, {"step": 2}])
    with path.open("a") as file:
        file.write('{"step": 3, "lo')
    assert read_jsonl(path) == [{"step": 1}, {"step": 2}]
    append_jsonl(path, [{"step": 3}, {"step": 4}])
    assert [row["step"] for row in read_jsonl(path)] == [1, 2, 3, 4]
    with path.open("ab") as file:
        file.write(b"\x00\x00\xff\xfe\n")
    append_jsonl(path, [{"step": 5}])
    assert [row["step"] for row in read_jsonl(path)] == [1, 2, 3, 4, 5]
    assert read_jsonl(tmp_path / "absent.jsonl") == []


def test_text_with_every_kind_of_line_end_is_one_row(tmp_path):
    path = tmp_path / "predictions.jsonl"
    append_jsonl(path, [{"output": AWKWARD}, {"output": "x"}])
    assert read_jsonl(path) == [{"output": AWKWARD}, {"output": "x"}]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(tmp_path, value):
    with pytest.raises(AssertionError):
        Measurement(value, "nats", 1, None, "s")
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", {"value": value})
    assert not (tmp_path / "x.json").exists()
    with pytest.raises(ValueError):
        append_jsonl(tmp_path / "x.jsonl", [{"value": value}])
    assert read_jsonl(tmp_path / "x.jsonl") == []


def test_a_missing_value_stays_missing():
    record = a_record()
    assert record.value("validation.bleu") == 12.5
    assert record.value("validation.chrf") is None
    with pytest.raises(AssertionError):
        a_record(status="done")


def test_json_is_text_that_a_person_can_read(tmp_path):
    write_json(tmp_path / "x.json", {"text": "Ł"})
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"text": "Ł"}
    assert "Ł" in (tmp_path / "x.json").read_text(encoding="utf-8")
