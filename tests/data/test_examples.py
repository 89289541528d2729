from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest

from harness.data.rows.example import Example, merge
from harness.data.rows.splits import read_splits
from harness.errors import InputError

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "e2e"


def rows(n: int, per_prompt: int = 1) -> list[dict]:
    return [{"prompt": f"p{i // per_prompt}", "answer": f"a{i}"} for i in range(n)]


def prompts(examples) -> set[str]:
    return {example.prompt for example in examples}


def test_drawn_splits_share_no_prompt(jsonl, config):
    name = jsonl("train.jsonl", rows(120, per_prompt=3))
    before = random.getstate()
    splits = read_splits(config(train=name))
    assert random.getstate() == before, "the global generator is not touched"
    groups = [prompts(split) for split in (splits.train, splits.validation, splits.test)]
    assert [len(group) for group in groups] == [32, 4, 4]
    assert len(set.union(*groups)) == 40
    assert len(splits.train) == 96 and len(splits.validation) == 4, "train rows stay apart"
    assert all(len(example.references) == 3 for example in splits.validation + splits.test)
    assert splits == read_splits(config(train=name))
    assert splits.validation != read_splits(config(train=name, split_seed=1)).validation
    assert splits.counts["validation_prompts_in_train"] == 0


def test_given_splits_stay_as_they_are(jsonl, config):
    train = jsonl("train.jsonl", rows(4))
    validation = jsonl(
        "validation.jsonl",
        [
            {"prompt": "p1", "answer": "x"},
            {"prompt": "new", "answer": ["y", "z"]},
            {"prompt": "p1", "answer": ["w", "x"]},
        ],
    )
    splits = read_splits(config(train=train, validation=validation, test_fraction=0.0))
    assert splits.validation == (
        Example("p1\n", ("x", "w")),
        Example("new\n", ("y", "z")),
    )
    assert len(splits.train) == 4 and splits.test == ()
    assert splits.counts["validation_prompts_in_train"] == 1


def test_merge_keeps_the_order_of_appearance():
    examples = [Example("b", ("1",)), Example("a", ("2",)), Example("b", ("3", "1"))]
    assert merge(examples) == [Example("b", ("1", "3")), Example("a", ("2",))]


def test_empty_answers_and_duplicates_are_counted(jsonl, config):
    train = [{"prompt": "p", "answer": a} for a in ("a", " \n", "a", [], ["", "b"])]
    splits = read_splits(
        config(
            train=jsonl("train.jsonl", train),
            validation=jsonl("validation.jsonl", rows(1)),
            test_fraction=0.0,
        )
    )
    assert [example.references for example in splits.train] == [("a",), ("a",), ("b",)]
    assert splits.counts["train_rows_without_answer"] == 2
    assert splits.counts["train_duplicate_rows"] == 1


def test_limits_take_a_sample_after_drawing(jsonl, config):
    """A file that is sorted by its class: its first rows would all be of one."""
    both = [{"prompt": f"{kind}{i}", "answer": kind} for kind in "ab" for i in range(100)]
    name = jsonl("train.jsonl", both)
    whole = read_splits(config(train=name))
    limits = {"train_limit": 30, "validation_limit": 8, "test_limit": 9}
    some = read_splits(config(train=name, **limits))
    for split, n in (("train", 30), ("validation", 8), ("test", 9)):
        kept, of = getattr(some, split), getattr(whole, split)
        assert len(kept) == n
        assert list(kept) == [example for example in of if example in set(kept)], "in their order"
        assert some.counts[f"{split}_left_out_by_limit"] == len(of) - n
        assert f"{split}_left_out_by_limit" not in whole.counts
    assert 8 <= sum(example.references == ("a",) for example in some.train) <= 22
    assert some.fingerprint == read_splits(config(train=name, **limits)).fingerprint
    other = config(train=name, validation=name, test_fraction=0.0, train_limit=30)
    seeds = {read_splits(dataclasses.replace(other, split_seed=s)).train for s in range(3)}
    assert len(seeds) == 3


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{prompt}\n", "Q {answer} {{x}}\n"),
        ("{question}|{context}:", "Q {answer} {{x}}|C:"),
        ("{{{context}}} {} {", "{C} {} {"),
    ],
)
def test_prompt_template(jsonl, config, template, expected):
    data = [{"question": "Q {answer} {{x}}", "context": "C", "prompt": "no", "answer": "a"}]
    splits = read_splits(
        config(
            train=jsonl("train.jsonl", data),
            validation=jsonl("validation.jsonl", data),
            test_fraction=0.0,
            prompt_column="question",
            prompt_template=template,
        )
    )
    assert splits.train[0].prompt == expected


def test_plain_text_is_split_by_document(here, config):
    documents = [f"document {i % 15}" for i in range(30)]
    (here / "corpus.txt").write_text("\n\n".join(documents))
    text = dict(source="text", prompt_column=None, answer_column=None, text_column="text")
    splits = read_splits(config(train="corpus.txt", **text))
    assert all(example.prompt == "" for example in splits.train)
    sets = [
        {example.references for example in split}
        for split in (splits.train, splits.validation, splits.test)
    ]
    assert sum(map(len, sets)) == len(set.union(*sets)) == 15
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 30


BAD = {
    "nothing given": ({}, "data.train is not set: give a file, e.g. data.train=train.jsonl."),
    "hub without a name": (
        {"source": "hub"},
        "data.name is not set: give a data set on the hub or a local directory, "
        "e.g. data.name=./my_dataset.",
    ),
    "hub without a split": (
        {"source": "hub", "name": "x"},
        "data.train is not set: give a split, e.g. data.train=train.",
    ),
    "files with builtin": (
        {"source": "builtin", "train": "train.jsonl"},
        "data.train='train.jsonl' cannot be used with data=builtin: choose the source of your "
        "files as well, e.g. data=jsonl.",
    ),
    "missing file": (
        {"train": "trian.jsonl"},
        "data.train: trian.jsonl does not exist. Did you mean train.jsonl?",
    ),
    "template column": (
        {"train": "train.jsonl", "prompt_template": "{promt}:"},
        "data.train: train.jsonl:1 has no such column (data.prompt_template). "
        "Unknown column 'promt'. Did you mean prompt? Known: answer, prompt.",
    ),
    "template without a column": (
        {"train": "train.jsonl", "prompt_template": "Say it: {{prompt}}"},
        "data.prompt_template='Say it: {{prompt}}' cannot be used: it must name at least one "
        "column in braces, e.g. '{prompt}'.",
    ),
    "template with the answer": (
        {"train": "train.jsonl", "prompt_template": "{prompt} {answer}"},
        "data.prompt_template='{prompt} {answer}' cannot be used: the prompt would contain "
        "data.answer_column 'answer'.",
    ),
    "too few to draw": (
        {"train": "train.jsonl"},
        "data.train has 2 different prompts: too few to draw 1 for validation and 1 for test from. "
        "Set data.validation to a split of its own. Set data.test to a split of its own.",
    ),
    "one document": (
        {"source": "text", "train": "one.txt", "text_column": "text", "test_fraction": 0.0},
        "data.train has 1 different documents: too few to draw 1 for validation from. In a text "
        "file, blank lines separate documents. Set data.validation to a split of its own.",
    ),
    "no share to draw": (
        {"train": "train.jsonl", "validation_fraction": 0.0},
        "data.validation is not set and data.validation_fraction is 0: give a validation split, or "
        "a share of train to draw it from, e.g. data.validation_fraction=0.1.",
    ),
    "only empty answers": (
        {"train": "empty.jsonl"},
        "data.train: All 1 rows are empty in data.answer_column 'answer'.",
    ),
    "general of one document": (
        {"train": "train.jsonl", "validation": "train.jsonl", "general": "one.txt"},
        "data.general: domain 'general' has one document. At least two are needed: one for the "
        "search and one for the test. In a text file, separate documents by blank lines. Or set "
        "data.general_test.",
    ),
    "general without text": (
        {"train": "train.jsonl", "validation": "train.jsonl", "general": "train.jsonl"},
        "data.general: train.jsonl:1 has no column of text. Unknown column 'text'. "
        "Known: answer, prompt.",
    ),
    "general of one name": (
        {
            "train": "train.jsonl",
            "validation": "train.jsonl",
            "general": ["one.txt", "more/one.txt"],
        },
        "data.general: Two files have the same name (one.txt, more/one.txt). Name the domains, e.g. "
        "'data.general={news: a/text.jsonl, law: b/text.jsonl}'.",
    ),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_named(here, jsonl, config, changes, message):
    jsonl("train.jsonl", rows(4, per_prompt=2))
    jsonl("empty.jsonl", [{"prompt": "p", "answer": ""}])
    (here / "one.txt").write_text("One document.")
    with pytest.raises(InputError) as error:
        read_splits(config(**({"test_fraction": 0.1} | changes)))
    assert str(error.value) == message


@pytest.fixture
def pair(jsonl):
    """The smallest splits, where general text is what a test is about."""
    return dict(
        train=jsonl("train.jsonl", rows(2)),
        validation=jsonl("validation.jsonl", rows(1)),
        test_fraction=0.0,
    )


def test_general_is_halved_or_given(here, jsonl, config, pair):
    (here / "news.txt").write_text("n0\n\nn1\n\nn2")
    jsonl("law.jsonl", [{"text": "l0"}, {"text": " "}, {"text": "l1"}, {"text": "l2"}])
    (here / "web.csv").write_text("text,url\nw0,x\nw1,y\n")
    files = ["news.txt", "law.jsonl", "web.csv"]
    halves = read_splits(config(**pair, general=files))
    assert halves.general == {"news": ("n0", "n2"), "law": ("l0", "l2"), "web": ("w0",)}
    assert halves.general_test == {"news": ("n1",), "law": ("l1",), "web": ("w1",)}
    given = read_splits(config(**pair, general={"a": "news.txt"}, general_test="law.jsonl"))
    assert given.general == {"a": ("n0", "n1", "n2")}
    assert given.general_test == {"general": ("l0", "l1", "l2")}
    limited = read_splits(config(**pair, general="news.txt", general_limit=1))
    assert limited.general["general"] in (("n0",), ("n2",))
    assert limited.general_test == {"general": ("n1",)}
    assert limited.counts["general_documents"] == 1
    assert limited.counts["general_documents_left_out_by_limit"] == 1
    assert read_splits(config(**pair)).general == {}


def test_replay_is_read_as_general_is_and_never_measured_on(here, jsonl, config, pair):
    (here / "news.txt").write_text("n0\n\nn1\n\nn2")
    jsonl("old.jsonl", [{"text": text} for text in ("o0", "o1", "o0", " ")])
    (here / "more.txt").write_text("m0")
    files = ["old.jsonl", "more.txt"]
    splits = read_splits(config(**pair, general="news.txt", replay=files))
    assert splits.replay == ("o0", "o1", "m0")
    assert splits.counts["replay_documents"] == 3
    without = read_splits(config(**pair, general="news.txt"))
    assert without.replay == ()
    assert without.fingerprint != splits.fingerprint
    jsonl("leak.jsonl", [{"text": "n1\n"}, {"text": "x"}, {"text": "n 0"}, {"text": "  n2"}])
    for given in ({"general": "news.txt"}, {"general": "more.txt", "general_test": "news.txt"}):
        with pytest.raises(InputError, match=r"^data\.replay: 2 of its 4 documents are also in"):
            read_splits(config(**pair, **given, replay="leak.jsonl"))
    with pytest.raises(InputError, match=r"^data\.replay: no\.txt"):
        read_splits(config(**pair, replay="no.txt"))


def test_one_file_to_measure_on_and_to_look_back_at_is_dealt_out(here, config, pair):
    """Every third document each: what anchors is never what judges."""
    texts = [f"n{i}" for i in range(9)]
    (here / "news.txt").write_text("\n\n".join([*texts, "n0"]))  # one document twice
    (here / "other.txt").write_text("o0\n\no1")
    one = read_splits(config(**pair, general="news.txt", replay="news.txt"))
    assert one.general == {"general": ("n0", "n3", "n6", "n0")}
    assert one.general_test == {"general": ("n1", "n4", "n7")}
    assert one.replay == ("n2", "n5", "n8")
    assert one.counts["replay_documents_dealt_from_general"] == 3
    given = {"general": ["news.txt"], "general_test": "other.txt", "replay": ["news.txt"]}
    two = read_splits(config(**pair, **given))
    assert two.replay == ("n1", "n3", "n5", "n7")  # not the second n0, which is measured on
    assert two.general_test == {"general": ("o0", "o1")}
    with pytest.raises(InputError, match=r"'general' has 2 documents\. At least three"):
        read_splits(config(**pair, general="other.txt", replay="other.txt"))


def test_general_folder_holds_one_domain_a_file(jsonl, config, pair):
    for name in ("b", "a"):
        jsonl(f"general/{name}.jsonl", [{"text": name + "0"}, {"text": name + "1"}])
    general = read_splits(config(**pair, general="general")).general
    assert list(general.items()) == [("a", ("a0",)), ("b", ("b0",))]


def test_fingerprint_is_of_the_content_alone(jsonl, config):
    jsonl("a/train.jsonl", rows(50))
    jsonl("b/other.jsonl", rows(50))
    jsonl("c/more.jsonl", [*rows(49), {"prompt": "p49", "answer": "changed"}])

    def fingerprint(path, **changes):
        return read_splits(config(train=path, **changes)).fingerprint

    first = fingerprint("a/train.jsonl")
    assert first == fingerprint("b/other.jsonl") == fingerprint(["b/other.jsonl"])
    others = {
        fingerprint("c/more.jsonl"),
        fingerprint("a/train.jsonl", prompt_template="{prompt}:"),
        fingerprint("a/train.jsonl", split_seed=1),
        fingerprint("a/train.jsonl", train_limit=3),
    }
    assert len(others) == 4 and first not in others
    assert first == fingerprint("a/train.jsonl", max_length=128), "no token is text"


def test_builtin_splits(config):
    task = read_splits(
        config(
            source="builtin",
            answer_column="references",
            general="builtin",
            general_test="builtin",
        )
    )
    assert len(task.validation) >= 50 and len(task.general) >= 3
    assert task.general.keys() == task.general_test.keys()
    text = dict(prompt_column=None, answer_column=None, text_column="text")
    domain = read_splits(config(source="builtin", **text))
    overlaps = [
        "validation_prompts_in_train",
        "test_prompts_in_train",
        "general_documents_in_train",
    ]
    assert [splits.counts[name] for splits in (task, domain) for name in overlaps] == [0] * 6


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data does not lie beside this checkout")
def test_real_e2e(config):
    e2e = config(
        train=str(SHARED / "train.jsonl"),
        validation=str(SHARED / "valid.jsonl"),
        test=str(SHARED / "test.jsonl"),
        prompt_column="mr",
        answer_column="ref",
    )
    splits = read_splits(e2e)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (4262, 50, 315)
    assert all(len(example.references) > 1 for example in splits.validation)
    assert not prompts(splits.train) & prompts(splits.validation)
    drawn = read_splits(dataclasses.replace(e2e, validation=None))
    assert not prompts(drawn.train) & prompts(drawn.validation)
    assert len(prompts(drawn.train) | prompts(drawn.validation)) == splits.counts["train_prompts"]
