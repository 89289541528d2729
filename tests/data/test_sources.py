from __future__ import annotations

import json
import subprocess
import sys

import pytest

from harness.data.sources import read_rows
from harness.errors import InputError

GOOD = b'{"prompt": "a", "answer": "b"}\n'
AN = "a.jsonl:1, column 'answer' (data.answer_column)"
KIND = "it must be text or a number."

BAD_JSONL = {
    "empty": (b"", "a.jsonl is empty."),
    "only newlines": (b"\n\r\n \n", "a.jsonl holds no rows."),
    "bad middle row": (
        GOOD + b'{"prompt": "a" "answer": "b"}\n' + GOOD,
        "a.jsonl:2 is not valid JSON: Expecting ',' delimiter (column 16).",
    ),
    "cut off": (
        GOOD + GOOD[:-9],
        "a.jsonl:2 is not valid JSON: Unterminated string starting at (column 17).",
    ),
    "array": (
        b"[\n" + GOOD + b"]",
        "a.jsonl:1 is not valid JSON: Expecting value (column 2)."
        " Is it one JSON document? Then data=json reads it.",
    ),
    "array on one line": (
        b'[{"prompt": "a", "answer": "b"}]',
        "a.jsonl:1 is a list, not an object. Is it one JSON document? Then data=json reads it.",
    ),
    "NaN": (b'{"prompt": NaN, "answer": 1}', "a.jsonl:1 is not valid JSON: NaN is not JSON."),
    "no object": (
        GOOD + b'["a", "b"]\n',
        "a.jsonl:2 is a list (['a', 'b']): a row must be an object with named columns.",
    ),
    "latin-1": (
        GOOD + '{"prompt": "ä", "answer": "b"}'.encode("latin-1"),
        "a.jsonl:2 is not UTF-8: byte 0xe4 at offset 43. "
        "Convert the file, e.g. iconv -f latin1 -t utf-8.",
    ),
    "utf-16": (
        GOOD.decode().encode("utf-16"),
        "a.jsonl:1 is not UTF-8: byte 0xff at offset 0. "
        "Convert the file, e.g. iconv -f latin1 -t utf-8.",
    ),
    "missing column": (
        GOOD + b'{"prompt": "a", "answr": "b"}',
        "a.jsonl:2 has no such column (data.answer_column). Unknown column 'answer'. "
        "Did you mean answr? Known: answr, prompt.",
    ),
    "null": (b'{"prompt": "a", "answer": null}', f"{AN} is null: {KIND}"),
    "truth value": (b'{"prompt": "a", "answer": true}', f"{AN} is a truth value (True): {KIND}"),
    "object": (b'{"prompt": "a", "answer": {}}', f"{AN} is an object ({{}}): {KIND}"),
    "null in list": (
        b'{"prompt": "a", "answer": ["b", null]}',
        f"{AN} in its list is null: {KIND}",
    ),
    "list as prompt": (
        b'{"prompt": ["a"], "answer": "b"}',
        f"a.jsonl:1, column 'prompt' (data.prompt_column) is a list (['a']): {KIND}",
    ),
    "lone surrogate": (
        b'{"prompt": "a", "answer": "b\\ud83d"}',
        f"{AN} holds half a surrogate pair (\\ud83d) at character 1: that is not text.",
    ),
}


@pytest.mark.parametrize(("content", "message"), BAD_JSONL.values(), ids=BAD_JSONL)
def test_bad_jsonl_is_named(here, config, content, message):
    (here / "a.jsonl").write_bytes(content)
    with pytest.raises(InputError) as error:
        read_rows("jsonl", "a.jsonl", config())
    assert str(error.value) == message


def test_jsonl_as_people_write_it(here, config):
    """Byte order mark, CRLF, blank lines, no last line feed, numbers, lists, NUL, U+2028."""
    (here / "a.jsonl").write_bytes(
        b"\xef\xbb\xbf"
        + b'{"prompt": 1, "answer": 2.5, "meta": null}\r\n\r\n'
        + '{"prompt": "\\u0000😀", "answer": ["b\u2028", 3]}'.encode()
    )
    assert read_rows("jsonl", ["a.jsonl"], config()) == [
        {"prompt": "1", "answer": "2.5"},
        {"prompt": "\0😀", "answer": ["b\u2028", "3"]},
    ]


def test_several_files(jsonl, config):
    names = [jsonl(f"{n}.jsonl", [{"prompt": n, "answer": n}]) for n in "ba"]
    assert [row["prompt"] for row in read_rows("jsonl", names, config())] == ["b", "a"]


def test_a_row_of_ten_megabytes(jsonl, config):
    name = jsonl("a.jsonl", [{"prompt": "p", "answer": "x" * 10_000_000}])
    assert len(read_rows("jsonl", name, config())[0]["answer"]) == 10_000_000


def test_missing_file(here, jsonl, config):
    jsonl("data/train.jsonl", [])
    for path, message in {
        "data/trian.jsonl": "data/trian.jsonl does not exist. Did you mean data/train.jsonl?",
        "data/zzz": "data/zzz does not exist.",
        "dta/train.jsonl": "dta/train.jsonl does not exist: there is no folder dta.",
        "data": "data is a directory, a file is needed.",
    }.items():
        with pytest.raises(InputError) as error:
            read_rows("jsonl", path, config())
        assert str(error.value) == message


ROW = {"prompt": "a", "answer": "b"}


@pytest.mark.parametrize("content", [[ROW], {"version": 1, "data": [ROW]}])
def test_json(here, config, content):
    (here / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(content, indent=1).encode())
    assert read_rows("json", "a.json", config()) == [ROW]


BAD_JSON = {
    "two lists": (
        '{"a": [], "b": []}',
        "a.json holds one object with 2 list fields (a, b): it must be a list of objects, "
        "or an object with exactly one list.",
    ),
    "text": ('"a"', "a.json holds 'a': it must be a list of objects."),
    "no rows": ("[]", "a.json holds no rows."),
    "broken": (
        '[{"prompt": "a"},\n {]',
        "a.json:2 is not valid JSON: Expecting property name enclosed in double quotes (column 3).",
    ),
    "lines": (
        '{"prompt": "a"}\n{"prompt": "b"}',
        "a.json:2 is not valid JSON: Extra data (column 1). "
        "Is it one object a line? Then data=jsonl reads it.",
    ),
    "row": (
        '[{"prompt": "a", "answer": "b"}, 3]',
        "a.json, row 2 is int (3): a row must be an object with named columns.",
    ),
}


@pytest.mark.parametrize(("content", "message"), BAD_JSON.values(), ids=BAD_JSON)
def test_bad_json_is_named(here, config, content, message):
    (here / "a.json").write_text(content)
    with pytest.raises(InputError) as error:
        read_rows("json", "a.json", config())
    assert str(error.value) == message


def test_csv(here, config):
    (here / "a.csv").write_bytes(
        b'\xef\xbb\xbfanswer,prompt\r\n"b, ""quoted""\r\nand more",a\r\n\r\n'
        + "c\u2028,{}\r\n".encode()
    )
    assert read_rows("csv", "a.csv", config()) == [
        {"prompt": "a", "answer": 'b, "quoted"\nand more'},
        {"prompt": "{}", "answer": "c\u2028"},
    ]
    (here / "a.tsv").write_text("prompt\tanswer\na, b\tc\n")
    assert read_rows("csv", "a.tsv", config()) == [{"prompt": "a, b", "answer": "c"}]


BAD_CSV = {
    "ragged": (
        'prompt,answer\n"a\nb",c\nd\n',
        "a.csv:4 has 1 cells, the header has 2 (prompt, answer).",
    ),
    "header alone": ("prompt,answer\n", "a.csv holds no rows."),
    "open quote": (
        'prompt,answer\na,b\nc,"d\ne,f\n',
        "a.csv:3 is not valid CSV: unexpected end of data.",
    ),
    "twice": ("a,b,a\n1,2,3\n", "a.csv:1: the header names a twice."),
    "column": (
        "prompt;answer\n1;2\n",
        "a.csv:2 has no such column (data.prompt_column). Unknown column 'prompt'. "
        "Did you mean prompt;answer? Known: prompt;answer.",
    ),
}


@pytest.mark.parametrize(("content", "message"), BAD_CSV.values(), ids=BAD_CSV)
def test_bad_csv_is_named(here, config, content, message):
    (here / "a.csv").write_text(content)
    with pytest.raises(InputError) as error:
        read_rows("csv", "a.csv", config())
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("content", "documents"),
    [
        ("one\n\ntwo\r\nlines\r\n \t\r\n\r\nthree", ["one", "two\nlines", "three"]),
        ("one\n\nstill one\n<|endoftext|>\n\n  two\n<|endoftext|>", ["one\n\nstill one", "  two"]),
        ("says <|endoftext|> inside", ["says <|endoftext|> inside"]),
    ],
)
def test_text(here, config, content, documents):
    (here / "a.txt").write_bytes(b"\xef\xbb\xbf" + content.encode())
    rows = read_rows("text", "a.txt", config(text_column="text"))
    assert rows == [{"text": document} for document in documents]


def test_text_in_another_encoding(here, config):
    (here / "a.txt").write_bytes(b"one\n\ntwo\xe4")
    with pytest.raises(InputError, match=r"^a\.txt:3 is not UTF-8: byte 0xe4 at offset 8\."):
        read_rows("text", "a.txt", config(text_column="text"))


def test_datasets_sources(here, config, monkeypatch):
    """One test, for importing `datasets` is slow: parquet, saved data sets, folders of files."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", here / "cache")
    rows = [{"prompt": "a", "answer": ["b", "c"]}, {"prompt": "d", "answer": ["e"]}]
    data = datasets.Dataset.from_list(rows)
    data.to_parquet(here / "a.parquet")
    assert read_rows("parquet", "a.parquet", config()) == rows
    data.save_to_disk(here / "one")
    assert read_rows("hub", "train", config(name="one")) == rows
    datasets.DatasetDict(first=data, second=data.select([1])).save_to_disk(here / "two")
    assert read_rows("hub", ["second", "first"], config(name="./two")) == rows[1:] + rows
    (here / "files").mkdir()
    data.to_json(here / "files" / "train.jsonl")
    assert read_rows("hub", "train[1:]", config(name="files")) == rows[1:]

    for source, split, name, message in [
        ("hub", "frist", "two", "Unknown split of data.name=two 'frist'. Did you mean first?"),
        ("hub", "test", "files", "data.name='files', split 'test' cannot be loaded: Unknown split"),
        ("hub", "train", "./gone", "data.name='./gone' is no directory."),
        ("parquet", "bad.parquet", None, "bad.parquet is not valid parquet: "),
        ("parquet", "null.parquet", None, "null.parquet, row 2, column 'answer' (data.answer_col"),
    ]:
        (here / "bad.parquet").write_text("no parquet")
        nulls = [{"prompt": "a", "answer": "b"}, {"prompt": "a", "answer": None}]
        datasets.Dataset.from_list(nulls).to_parquet(here / "null.parquet")
        with pytest.raises(InputError) as error:
            read_rows(source, split, config(name=name))
        assert str(error.value).startswith(message)


def test_reading_needs_neither_torch_nor_datasets():
    code = (
        "import sys, harness.data.examples;"
        "print({'torch', 'datasets', 'transformers'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
