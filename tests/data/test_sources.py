from __future__ import annotations

import bz2
import datetime
import decimal
import gzip
import io
import json
import lzma
import pickle
import re
import subprocess
import sys
import zipfile
from collections import Counter

import pytest

from harness.data.rows.files.sources import read_rows
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
        "a.jsonl:2 is not UTF-8: byte 0xe4 at offset 43. Convert the file from the encoding that it "
        "was saved in (cp1252 in Western Europe, cp932 in Japan, gb18030 in China ...): "
        """iconv -f ENCODING -t utf-8. This place reads 'ompt": "ä", "answer"' as cp1252, """
        """'ompt": "д", "answer"' as cp1251, 'ompt": "ä", "answer"' as cp1250.""",
    ),
    "utf-16 without its mark": (
        GOOD.decode().encode("utf-16-le"),
        "a.jsonl is UTF-16LE without a byte order mark: convert it, iconv -f utf-16le -t utf-8.",
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


def test_tables_as_spreadsheets_write_them(here, config):
    """Columns without a name, names twice that nobody asked for, empty rows, other separators."""
    wanted = [{"prompt": "a", "answer": "b"}, {"prompt": "c", "answer": ""}]
    for name, content in {
        "trailing": "prompt,answer,,\na,b,,\nc,,,\n,,,\n,,\n",
        "fewer cells": "prompt,answer,,\na,b\nc,\n",
        "index": ",prompt,answer\n0,a,b\n1,c,\n",
        "twice": "note,prompt,answer,note\n,a,b,x\ny,c,,\n",
        "spaces": " prompt, answer \na,b\nc,\n",
        "macintosh": "prompt,answer\ra,b\rc,\r",
        "semicolons": "prompt;answer;;\na;b;;\nc;;;\n",
        "tabs": "prompt\tanswer\na\tb\nc\t\n",
    }.items():
        (here / "a.csv").write_text(content, newline="")
        assert read_rows("csv", "a.csv", config()) == wanted, name
    seen = Counter()
    (here / "a.csv").write_text("prompt;answer\na;None\n,;\n;\n")
    read_rows("csv", "a.csv", config(), seen)
    assert +seen == {
        "semicolons_as_separators": 1, "answers_that_say_none_rows": 1, "empty_lines": 1
    }  # fmt: skip


FILES = {
    "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress,
    "utf-16": lambda raw: raw.decode().encode("utf-16"),
    "utf-16-be": lambda raw: b"\xfe\xff" + raw.decode().encode("utf-16-be"),
    "utf-32": lambda raw: raw.decode().encode("utf-32"),
    "gzip of utf-16": lambda raw: gzip.compress(raw.decode().encode("utf-16")),
}  # fmt: skip


@pytest.mark.parametrize("how", FILES)
def test_what_can_be_read_by_its_first_bytes(here, config, how):
    for source, text in (
        ("jsonl", '{"prompt": "ä文", "answer": "b"}\n'),
        ("csv", "prompt,answer\r\nä文,b\r\n"),
        ("json", '[{"prompt": "ä文", "answer": "b"}]'),
    ):
        (here / "a").write_bytes(FILES[how](text.encode()))
        assert read_rows(source, "a", config()) == [{"prompt": "ä文", "answer": "b"}]


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "x")
    return file.getvalue()


NAMED = {
    "Excel": (zipped("xl/workbook.xml"), "an Excel workbook"),
    "Word": (zipped("word/document.xml"), "a Word document"),
    "zip": (zipped("a.csv"), "a zip archive"),
    "old Excel": (bytes.fromhex("d0cf11e0a1b11ae1"), "an old Excel"),
    "PDF": (b"%PDF-1.7\n", "a PDF"),
    "parquet": (b"PAR1\x15\x04", "a parquet file: data=parquet"),
    "SQLite": (b"SQLite format 3\0\x10", "an SQLite database"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04", "compressed with zstd"),
    "pickle": (pickle.dumps([1]), "a Python pickle"),
    "page": (b"\n<!DOCTYPE html><html>", "a web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    "tar": (b"\0" * 257 + b"ustar\0" + b"\0" * 20, "a tar archive"),
    "gzip of a PDF": (gzip.compress(b"%PDF-1.7\n"), "packed, and inside a PDF"),
    "half a gzip": (gzip.compress(b"prompt,answer\n" * 99)[:-9], "cannot be unpacked"),
    "half of UTF-16": ("prompt,answer\na,b".encode("utf-16")[:-1], "Is it truncated?"),
    "UTF-16BE": ("prompt,answer".encode("utf-16-be"), "UTF-16BE without a byte order mark"),
    "UTF-32LE": ("prompt,answer".encode("utf-32-le"), "UTF-32LE without a byte order mark"),
}


@pytest.mark.parametrize(("content", "said"), NAMED.values(), ids=NAMED)
def test_what_is_no_text_is_named(here, config, content, said):
    (here / "a").write_bytes(content)
    for source in ("csv", "jsonl", "json", "text")[: 4 if said != "a web page" else 3]:
        about = config(text_column="text") if source == "text" else config()
        with pytest.raises(InputError, match=re.escape(said)):
            read_rows(source, "a", about)


@pytest.mark.parametrize(
    ("encoding", "text", "read"),
    [
        ("cp932", "質問は何ですか", "'質問は何ですか' as cp932"),
        ("cp1252", "l’été – où", "'l’été – où' as cp1252"),
        ("cp1251", "Привет", "'Привет' as cp1251"),
        ("gb18030", "今天天气很好", "'今天天气很好' as gb18030"),
        ("cp949", "안녕하세요", "'안녕하세요' as cp949"),
    ],
)
def test_the_advice_shows_what_an_encoding_reads(here, config, encoding, text, read):
    (here / "a.csv").write_bytes(f"prompt,answer\n{text},x\n".encode(encoding))
    with pytest.raises(InputError) as error:
        read_rows("csv", "a.csv", config())
    assert read.rstrip("'") in str(error.value).replace(",x'", "'")
    assert "latin1" not in str(error.value) and str(error.value).startswith("a.csv:2 is not UTF-8")


def test_text_that_was_read_in_the_wrong_encoding(here, jsonl, config):
    """Latin-1 takes any bytes; UTF-8 as cp1252; bytes that were replaced. A few are counted."""
    good = [{"prompt": f"Größe {n} – “déjà vu” à l’hôtel", "answer": "où"} for n in range(8)]
    for bad in (
        "質問".encode("cp932").decode("latin-1"), "l’été".encode("cp1252").decode("latin-1"),
        "été".encode().decode("cp1252"), "it’s".encode().decode("cp1252"), "caf\ufffd",
    ):  # fmt: skip
        row = {"prompt": "a", "answer": bad}
        seen = Counter()
        assert len(read_rows("jsonl", jsonl("a.jsonl", [*good, row]), config(), seen)) == 9
        assert seen["garbled_rows"] == 1
        with pytest.raises(InputError, match=r"5 of 9 rows .*a\.jsonl:5.*not from latin1"):
            read_rows("jsonl", jsonl("a.jsonl", [*good[:4], *[row] * 5]), config())


def test_a_row_of_ten_megabytes(jsonl, config):
    name = jsonl("a.jsonl", [{"prompt": "p", "answer": "x" * 10_000_000}])
    assert len(read_rows("jsonl", name, config())[0]["answer"]) == 10_000_000


def test_missing_file(here, jsonl, config):
    jsonl("data/train.jsonl", [])
    for path, message in {
        "data/trian.jsonl": "data/trian.jsonl does not exist. Did you mean data/train.jsonl?",
        "data/zzz": "data/zzz does not exist.",
        "dta/train.jsonl": "dta/train.jsonl does not exist: the folder dta does not exist.",
        "data": "data is a directory. Give the path of a file.",
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
        "a.json holds one object with 2 list fields (a, b): the file must hold a list of objects, "
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
        "a.csv:3 is not valid CSV: unexpected end of data. A quote that opens in this row is never "
        "closed.",
    ),
    "twice": (
        "prompt,answer,prompt\n1,2,3\n",
        f"a.csv:2, column 'prompt' (data.prompt_column) is named twice in the header: {KIND}",
    ),
    "column": (
        "prompt|answer\n1|2\n",
        "a.csv:2 has no such column (data.prompt_column). Unknown column 'prompt'. "
        "Did you mean prompt|answer? Known: prompt|answer.",
    ),
    "a comma unquoted": (
        "prompt,answer\na,b,c\n",
        "a.csv:2 has 3 cells, the header has 2 (prompt, answer). A cell with a comma in it stands in "
        "double quotes.",
    ),
    "a quote inside": (
        'prompt,answer\n"a "b" c",d\n',
        "a.csv:2 is not valid CSV: ',' expected after '\"'. A quote inside a quoted cell is written "
        "twice.",
    ),
    "zero byte": (
        "prompt,answer\na,b\0\n",
        "a.csv:2 holds a zero byte: the file is damaged, or is not text.",
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
        ("hub", "train", "./gone", "data.name='./gone' is not a directory."),
        ("parquet", "bad.parquet", None, "bad.parquet is not valid parquet: "),
        ("parquet", "null.parquet", None, "null.parquet, row 2, column 'answer' (data.answer_col"),
    ]:
        (here / "bad.parquet").write_text("no parquet")
        nulls = [{"prompt": "a", "answer": "b"}, {"prompt": "a", "answer": None}]
        datasets.Dataset.from_list(nulls).to_parquet(here / "null.parquet")
        with pytest.raises(InputError) as error:
            read_rows(source, split, config(name=name))
        assert str(error.value).startswith(message)


def test_parquet_values_as_their_own_type_prints_them(here, config):
    import pyarrow as pa
    from pyarrow.parquet import write_table

    when = datetime.datetime(2024, 1, 5, 10, 30)
    for values, kind, printed in [
        ([0.1], pa.float32(), "0.1"), ([0.1], pa.float16(), "0.1"), ([1.0], pa.float32(), "1.0"),
        ([0.1], pa.float64(), "0.1"), ([7], pa.uint8(), "7"),
        ([[0.1]], pa.list_(pa.float32()), ["0.1"]),
        ([decimal.Decimal("1.50")], pa.decimal128(6, 2), "1.50"),
        ([when.date()], pa.date32(), "2024-01-05"), ([when.time()], pa.time64("us"), "10:30:00"),
        ([when], pa.timestamp("us"), "2024-01-05 10:30:00"),
        (["x"], pa.large_string(), "x"),
    ]:  # fmt: skip
        table = pa.table({"prompt": ["p"], "answer": pa.array(values, kind)})
        write_table(table, here / "a.parquet")
        assert read_rows("parquet", "a.parquet", config()) == [{"prompt": "p", "answer": printed}]
    for values, said in [
        ([None], "null"),
        ([float("nan")], "float (nan)"),
        ([True], "a truth value"),
    ]:
        write_table(pa.table({"prompt": ["p"], "answer": values}), here / "a.parquet")
        with pytest.raises(InputError, match=re.escape(said)):
            read_rows("parquet", "a.parquet", config())
    write_table(table.slice(0, 0), here / "a.parquet")
    with pytest.raises(InputError, match=r"^a\.parquet holds no rows\.$"):
        read_rows("parquet", "a.parquet", config())
    (here / "a.parquet").write_text("prompt,answer\n")
    with pytest.raises(InputError, match="If it is text"):
        read_rows("parquet", "a.parquet", config())


def test_reading_needs_neither_torch_nor_datasets():
    code = (
        "import sys, harness.data.rows.examples;"
        "print({'torch', 'datasets', 'transformers'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
