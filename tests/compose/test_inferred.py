"""Overrides inferred from a data file: its source, its columns, a general text."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from harness import builtin
from harness.compose.command_line import compose_from_data
from harness.compose.inferred import missing_overrides
from harness.data.rows.general import read_general
from harness.errors import InputError


def table(path, columns, rows=3):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([[f"{name} {i}" for name in columns] for i in range(rows)])
    return f"data.train={path}"


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return f"data.train={path}"


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (("prompt", "answer"), []),
        (
            ("id", "question", "answer"),
            ["data.prompt_column=question", "data.answer_column=answer"],
        ),
        (
            ("Instruction", "Output"),
            ["data.prompt_column=Instruction", "data.answer_column=Output"],
        ),
        (("text", "label"), ["data.text_column=text", "data.label_column=label"]),
        (("text",), ["data.text_column=text"]),
        (("質問", "回答"), ['data.prompt_column="質問"', 'data.answer_column="回答"']),
        (("mr", "ref"), ["data.prompt_column=mr", "data.answer_column=ref"]),
    ],
)
def test_columns_by_their_usual_names(tmp_path, columns, found):
    assert missing_overrides([table(tmp_path / "a.csv", columns)]) == ["data=csv", *found]


def test_conversations_are_lists(tmp_path):
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "good day"}]
    train = lines(tmp_path / "a.jsonl", [{"messages": turns}] * 3)
    assert missing_overrides([train]) == ["data=jsonl", "data.messages_column=messages"]


def test_columns_without_usual_names_are_all_named(tmp_path):
    with pytest.raises(InputError, match=r"columns kana, romaji, n.*data\.prompt_column="):
        missing_overrides([table(tmp_path / "a.csv", ("kana", "romaji", "n"))])


def test_what_is_typed_stands(tmp_path):
    train = table(tmp_path / "a.csv", ("question", "answer", "reply"))
    typed = ["data.prompt_column=question", "data.answer_column=reply"]
    assert missing_overrides([train, *typed]) == ["data=csv"]
    assert missing_overrides([train, "data=csv", typed[0]]) == []  # 'answer' is the default
    assert missing_overrides([train, "data.prompt_template='{question}?'"]) == ["data=csv"]
    other = table(tmp_path / "b.csv", ("質問", "回答"))
    assert missing_overrides([other, "data.prompt_template=質問: {質問}"]) == [
        "data=csv",
        'data.answer_column="回答"',
    ]
    assert missing_overrides([train, "--config-dir=mine"]) == []


def test_the_other_half_of_a_pair(tmp_path):
    train = table(tmp_path / "a.csv", ("kana", "romaji"))
    assert missing_overrides([train, "data.prompt_column=kana"]) == [
        "data=csv", "data.answer_column=romaji",
    ]  # fmt: skip
    wide = table(tmp_path / "b.csv", ("kana", "romaji", "n"))
    with pytest.raises(InputError, match=r"data\.answer_column: .*one of romaji, n"):
        missing_overrides([wide, "data.prompt_column=kana"])


def test_nothing_follows_without_a_file(tmp_path):
    assert missing_overrides(["method=lora"]) == []
    with pytest.raises(InputError, match=r"^data\.train: .*absent\.csv does not exist"):
        missing_overrides([f"data.train={tmp_path / 'absent.csv'}"])
    assert missing_overrides([f"data.train={tmp_path / 'absent.csv'}", "data=hub"]) == []
    (tmp_path / "notes.xyz").write_text("text")
    assert missing_overrides([f"data.train={tmp_path / 'notes.xyz'}"]) == []


def test_a_sweep_of_one_file_has_a_general_text(tmp_path):
    train = table(tmp_path / "faq.csv", ("question", "answer"), rows=30)
    sweep, plans, taken = compose_from_data([train, "method=lora"])
    data = plans[0].trial({}).data
    assert (data.source, data.prompt_column, data.general) == ("csv", "question", "builtin")
    assert taken[-1] == "data.general=builtin" and "forgetting.kl" in sweep.objectives
    _, plans, taken = compose_from_data(
        [train, "method=lora", "model=hub", "model.name=some/model"]
    )
    assert taken[-1] == "data.general=everyday"
    _, _, taken = compose_from_data([train, "objectives={validation.bleu:maximize}"])
    assert not any("general" in override for override in taken)


def test_everyday_texts_are_two_equal_halves_in_two_languages(tmp_path):
    train = table(tmp_path / "faq.csv", ("question", "answer"), rows=30)
    _, plans, _ = compose_from_data([train, "data.general=everyday"])
    read = read_general(plans[0].trial({}).data)
    general, test = read.search, read.test
    assert general.keys() == test.keys() == {path.stem for path in builtin.EVERYDAY.iterdir()}
    texts = [text for half in (general, test) for own in half.values() for text in own]
    assert len(texts) == len(set(texts)) == 84
    assert sum(len(own) for name, own in general.items() if name.startswith("japanese")) == 12


@pytest.mark.parametrize(("name", "way"), [("a.xlsx", "as CSV"), ("b.PDF", r"as \.txt")])
def test_formats_that_no_source_reads_are_refused_with_a_way_out(name, way):
    with pytest.raises(InputError, match=rf"data\.train={name} cannot be read: .*{way}"):
        missing_overrides([f"data.train={name}"])


def test_the_format_of_a_packed_file_is_that_of_its_content(tmp_path):
    given = lines(tmp_path / "a.jsonl", [{"prompt": "p", "answer": "a"}]).removeprefix(
        "data.train="
    )
    packed = tmp_path / "b.JSONL.gz"
    packed.write_bytes(gzip.compress(Path(given).read_bytes()))
    assert missing_overrides([f"data.train={packed}"]) == ["data=jsonl"]
