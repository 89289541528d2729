"""Conversion of rows: system texts, chains, shares, duplicates, and counts of skipped rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.data.rows.columns import as_text
from harness.data.rows.conversations import Turn, turns_of
from harness.data.rows.example import Example
from harness.data.rows.splits import read_splits
from harness.data.tokens.encode import encode
from harness.errors import InputError

ONE = dict(test_fraction=0.0)


def test_the_system_text_goes_before_the_prompt(jsonl, config):
    rows = [{"prompt": "P", "system": "S", "answer": "a"}, {"prompt": "Q", "system": None}]
    rows[1]["answer"] = "b"
    name = jsonl("train.jsonl", rows)
    about = dict(train=name, validation=name, system_column="system", **ONE)
    assert [e.prompt for e in read_splits(config(**about)).train] == ["S\nP\n", "Q\n"]
    shown = read_splits(config(**about, prompt_template="[{system}] {prompt}:"))
    assert [e.prompt for e in shown.train] == ["[S] P:", "[] Q:"]
    (named, _) = read_splits(config(**about, prompt_template="{prompt} {answer2}{{}}|"[:9])).train
    assert named.prompt == "S\nP "
    with pytest.raises(InputError, match=r"no such column \(data\.system_column\)"):
        read_splits(config(**(about | {"system_column": "sys"})))


def test_several_prompt_columns(jsonl, config):
    name = jsonl("train.jsonl", [{"instruction": "I", "input": "X", "output": "O"}] * 2)
    columns = dict(prompt_column="instruction", answer_column="output")
    data = config(
        train=name, validation=name, **ONE, **columns, prompt_template="{instruction}\n\n{input}\n"
    )
    assert read_splits(data).train[0] == Example("I\n\nX\n", ("O",))


CHAIN = [
    {"id": 1, "parent": None, "prompt": "a?", "answer": "A", "sys": "S"},
    {"id": 2, "parent": 1, "prompt": "b?", "answer": "B", "sys": "later"},
    {"id": 3, "parent": 2, "prompt": "c?", "answer": "C", "sys": ""},
    {"id": 4, "parent": 1, "prompt": "d?", "answer": "D", "sys": ""},
    {"id": 5, "parent": "", "prompt": "e?", "answer": "E", "sys": ""},
    {"id": 6, "parent": 5, "prompt": "f?", "answer": " ", "sys": ""},
]
CHAINED = dict(chat=True, id_column="id", parent_id_column="parent", system_column="sys")


def test_rows_are_chained_into_conversations(jsonl, config):
    name = jsonl("train.jsonl", CHAIN)
    data = config(train=name, validation=name, **ONE, **CHAINED, prompt_template="{prompt}")
    splits = read_splits(data)
    assert [e.references for e in splits.train] == [("A",), ("B",), ("C",), ("D",), ("E",)]
    assert splits.train[2].turns == (
        Turn("system", "S"),
        Turn("user", "a?"),
        Turn("assistant", "A"),
        Turn("user", "b?"),
        Turn("assistant", "B"),
        Turn("user", "c?"),
    )
    assert splits.counts["train_rows_without_answer"] == 1
    whole = read_splits(config(**(vars(data) | {"limit_chained_samples": True})))
    assert [e.references for e in whole.train] == [("C",), ("D",)]


def test_a_conversation_is_in_one_split(jsonl, config):
    rows = []
    for i in range(0, 60, 3):
        for k in range(3):
            parent = None if k == 0 else i + k - 1
            rows.append({"id": i + k, "parent": parent, "prompt": f"{i}.{k}", "answer": "x"})
    data = dict(CHAINED, system_column=None)
    splits = read_splits(config(train=jsonl("train.jsonl", rows), **data))
    begins = [{e.turns[0] for e in part} for part in (splits.train, splits.validation, splits.test)]
    assert len(set.union(*begins)) == 20 == sum(map(len, begins))
    assert len(splits.validation) == 6, "two conversations of three rows"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": 1}, "rows 1 and 2 have the same id '1'"),
        ({"parent": 9}, "row 2 has the parent '9', but no row has this id"),
        ({"parent": 3}, "row 2 is its own ancestor"),
    ],
)
def test_broken_chains_are_named(jsonl, config, changes, message):
    rows = [CHAIN[0], CHAIN[1] | changes, CHAIN[2], *CHAIN[4:]]
    name = jsonl("train.jsonl", rows)
    with pytest.raises(InputError, match="data.id_column and data.parent_id_column: " + message):
        read_splits(config(train=name, validation=name, **ONE, **CHAINED))


def test_a_share_of_train_is_of_whole_prompts(jsonl, config):
    rows = [{"prompt": f"p{i // 3}", "answer": f"a{i}"} for i in range(300)]
    name = jsonl("train.jsonl", rows)
    whole = read_splits(config(train=name))
    part = read_splits(config(train=name, train_share=0.25))
    assert len(part.train) == 60 and len({e.prompt for e in part.train}) == 20
    assert set(part.train) < set(whole.train)
    assert (part.validation, part.test) == (whole.validation, whole.test)
    assert part.train == read_splits(config(train=name, train_share=0.25)).train
    places = [whole.train.index(example) for example in part.train]
    assert places == sorted(places) and places != list(range(60))
    other = read_splits(
        config(train=name, validation=name, **ONE, train_share=0.25, split_seed=1)
    ).train
    assert {e.prompt for e in other} != {e.prompt for e in part.train}


def test_duplicates_are_counted_and_dropped(jsonl, config):
    rows = [{"prompt": f"p{i % 4}", "answer": f"a{i % 2}"} for i in range(12)]
    name = jsonl("train.jsonl", rows)
    counted = read_splits(config(train=name, validation=name, **ONE))
    assert (
        counted.counts["train_duplicate_rows"] == counted.counts["validation_duplicate_rows"] == 8
    )
    assert len(counted.train) == 12
    dropped = read_splits(config(train=name, validation=name, **ONE, drop_duplicates=True))
    assert len(dropped.train) == 4 and dropped.counts["train_duplicate_rows"] == 0
    assert dropped.counts["train_duplicate_rows_dropped"] == 8


def test_what_is_passed_over_is_counted(here, config):
    rows = [{"prompt": "é", "answer": "a"}, {"prompt": "q", "answer": ""}]
    lines = "\r\n".join(["", *map(json.dumps, rows), " ", ""])
    (here / "train.jsonl").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    (here / "train.csv").write_bytes("\ufeffprompt,answer\r\né,a\r\n\r\nq,\r\n".encode())
    for source in ("jsonl", "csv"):
        name = f"train.{source}"
        splits = read_splits(config(source=source, train=name, validation=name, **ONE))
        assert splits.train == (Example("é\n", ("a",)),), "the mark is no part of the first column"
        about = {key: n for key, n in splits.counts.items() if key.startswith("train_")}
        assert about["train_byte_order_marks"] == 1
        assert about["train_crlf_line_ends"] == 4
        assert about["train_empty_lines"] == (2 if source == "jsonl" else 1)
        assert about["train_rows_without_answer"] == 1


FILES = {
    "jsonl": '{"prompt": "%s", "answer": "x"}\n',
    "json": '[{"prompt": "%s", "answer": "x"}]',
    "csv": "prompt,answer\n%s,x\n",
    "text": "%s",
    "pages": "<p>%s</p>",
}


@pytest.mark.parametrize("source", [*FILES, "parquet", "hub"])
def test_several_files(here, config, source):
    names = ["a", "b"]
    if source in FILES:
        suffix = {"text": "txt", "pages": "html"}.get(source, source)
        names = [f"{name}.{suffix}" for name in names]
        for name in names:
            (here / name).write_text(FILES[source] % name[0])
    else:
        import datasets

        rows = {
            name: datasets.Dataset.from_list([{"prompt": name, "answer": "x"}]) for name in names
        }
        datasets.DatasetDict(rows).save_to_disk(str(here / "saved"))
        if source == "parquet":
            names = [f"{name}.parquet" for name in names]
            for name in names:
                rows[name[0]].to_parquet(name)
    text = dict(prompt_column=None, answer_column=None, text_column="text")
    columns = text if source in ("text", "pages") else {}
    folder = dict(name="./saved") if source == "hub" else {}
    data = config(source=source, train=names, validation=names, **ONE, **folder, **columns)
    assert [e.key.strip() for e in read_splits(data).train] == ["a", "b"]


SPELLINGS = [
    [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
    [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
    [{"role": "Human", "content": [{"type": "text", "text": "q"}]}, {"from": "bot", "text": "a"}],
    '[{"role": "user", "content": "q"}, {"role": "model", "content": "a"}]',
]


@pytest.mark.parametrize("value", SPELLINGS)
def test_turns_in_every_spelling(value):
    assert turns_of(value, "here", as_text) == [Turn("user", "q"), Turn("assistant", "a")]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hello", "here is the text 'hello': it must be a list of turns, or one as JSON"),
        ({"role": "user"}, "here is {'role': 'user'}: it must be a list of turns"),
        (["hi"], "here, turn 1 is 'hi': it must be an object with role and content"),
        ([{"role": "user"}], "here, turn 1 has no content or value or text: it holds role"),
        ([{"role": "usr", "content": "x"}], "here, turn 1: Unknown role 'usr'. Did you mean user"),
        ([{"role": "user", "content": 1.5}], None),
        ([{"role": "user", "content": [1]}], "here, turn 1, 'content' is a list"),
        ([{"role": "critic", "content": "x"}], "here, turn 1: Unknown role 'critic'"),
        (
            [{"role": "assistant", "content": "x", "weight": 0.5}],
            "here, turn 1, 'weight' is 0.5: it must be 0 or false for a turn that is not learned",
        ),
    ],
)
def test_turns_that_cannot_be_used(value, message):
    if message is None:
        assert turns_of(value, "here", as_text) == [Turn("user", "1.5")]
        return
    with pytest.raises(InputError) as error:
        turns_of(value, "here", as_text)
    assert str(error.value).startswith(message)


def test_conversations_without_an_answer_are_counted(jsonl, config):
    user, assistant = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    talks = [[user, assistant], [user], [], [assistant], [user, assistant | {"content": " "}]]
    name = jsonl("talks.jsonl", [{"messages": talk} for talk in talks])
    columns = dict(messages_column="messages", prompt_column=None, answer_column=None)
    splits = read_splits(config(train=name, validation=name, **ONE, **columns))
    assert len(splits.train) == 1 and splits.counts["train_rows_without_answer"] == 4


def test_a_prompt_may_keep_its_beginning(tokenizer, config):
    long = [Example("0123456789:", ("ab",)), Example("0:", ("abcdefghij",))]
    data = config(max_length=8, truncate="right")
    encoded = encode(long, tokenizer, data, all_references=True)
    texts = [tokenizer.decode(encoded.sequence(i)) for i in range(2)]
    assert texts == ["<s>0123ab</s>", "<s>0abcdef"]
    assert encoded.label_bytes.tolist() == [2, 6]
    on_all = config(max_length=8, truncate="right", loss_on="all")
    assert encode(long, tokenizer, on_all, all_references=True).label_bytes.tolist() == [6, 7]


BAD = {
    "data.train_share=0": {"train_share": 0.0},
    "data.padding_quantile=1.5": {"padding_quantile": 1.5},
    "data.packing='stream' needs data.text_column": {"packing": "stream"},
    "data.padding_quantile=0.5 cannot": {"packing": "documents", "padding_quantile": 0.5},
    "data.truncate='right' cannot": {"chat": True, "truncate": "right"},
    "data.text_column='t' cannot": {"messages_column": "m", "text_column": "t"},
    "data.chat=true cannot": {"chat": True, "text_column": "t"},
    "data.id_column and data.parent_id_column name": {"chat": True, "id_column": "i"},
    "data.parent_id_column='p' needs data.chat": {"id_column": "i", "parent_id_column": "p"},
    "data.chat_template='c' needs": {"chat_template": "c"},
    "data.packing='documents' cannot be used with data.label": {
        "packing": "documents",
        "label_column": "l",
    },
}


@pytest.mark.parametrize(("message", "changes"), BAD.items(), ids=BAD)
def test_settings_that_contradict(config, message, changes):
    with pytest.raises(InputError) as error:
        config(**changes)
    assert str(error.value).startswith(message)


SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data does not lie beside this checkout")
def test_real_rows(config):
    gsm8k = read_splits(
        config(
            train=str(SHARED / "gsm8k" / "train_2000.jsonl"),
            test=str(SHARED / "gsm8k" / "test.jsonl"),
            prompt_column="question",
            train_share=0.1,
        )
    )
    assert (len(gsm8k.train), len(gsm8k.validation), len(gsm8k.test)) == (180, 200, 1319)
    dolly = read_splits(
        config(
            train=str(SHARED / "instruct" / "dolly_hhrlhf_train_small.jsonl"),
            answer_column="response",
            prompt_template="{prompt}",
        )
    )
    whole = (SHARED / "instruct" / "dolly_hhrlhf_train_small.jsonl").read_bytes().count(b"\n")
    read = len(dolly.train) + sum(len(e.references) for e in dolly.validation + dolly.test)
    assert read + dolly.counts["train_rows_without_answer"] == pytest.approx(whole, abs=5)
