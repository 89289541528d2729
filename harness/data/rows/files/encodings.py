"""Detection of a file's format by its first bytes: text in UTF-8, 16 or 32, packed text, or another."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import unicodedata
import zipfile
from pathlib import Path
from typing import BinaryIO

from harness.errors import InputError

__all__ = ["advice", "decoded", "named", "opened_text"]

_HEAD = 65536
_PACKED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_WIDE = {  # UTF-32 first: its mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_OTHERS = {
    b"PAR1": "a parquet file: data=parquet reads it",
    b"%PDF": "a PDF: extract its text first, e.g. pdftotext FILE out.txt",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it, e.g. zstd -d FILE",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it",
    b"Rar!": "a RAR archive: unpack it",
    b"\x04\x22\x4d\x18": "compressed with lz4: unpack it, e.g. lz4 -d FILE",
    b"SQLite format 3\x00": "an SQLite database: export the table as CSV, e.g. sqlite3 -csv -header",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file: save it as CSV (UTF-8) or as plain text",
    b"{\\rtf": "an RTF document: save it as plain text",
    b"ARROW1": "an Arrow file: convert it to parquet",
    b"\xff\xff\xff\xff": "an Arrow stream, as of a saved data set: data=hub data.name=FOLDER reads it",
    b"\x89HDF": "an HDF5 file: convert it to parquet or CSV",
    b"\x93NUMPY": "a NumPy array: convert it to parquet or CSV",
    b"Obj\x01": "an Avro file: convert it to parquet",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself: fetch it with git lfs pull",
}
_ZIPPED = {
    "xl/": "an Excel workbook: save the sheet as CSV (UTF-8)",
    "word/": "a Word document: save it as plain text",
    "ppt/": "a PowerPoint file: save it as plain text",
    "content.xml": "an OpenDocument file: save it as CSV (UTF-8) or as plain text",
    "data.pkl": "a file of torch.save: convert it to a table",
}
# Encodings that programs of each region write. Latin-1 is left out because it decodes any bytes.
ENCODINGS = ("cp1252", "cp932", "gb18030", "cp949", "cp1251", "big5", "cp1250", "euc-jp")


def named(path: Path, head: bytes) -> str | None:
    """Identify a file that is not text by its first bytes, with advice. None if it may be text."""
    for mark, what in _OTHERS.items():
        if head.startswith(mark):
            return what
    if head.startswith(b"PK\x03\x04"):
        return _zipped(path)
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it"
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return "a Python pickle, which is not read, for it can run code: convert it to a table"
    if head[:512].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return (
            "a web page, perhaps saved in place of the file that it offers: download that; "
            "data=pages reads pages"
        )
    return _wide(head)


def _zipped(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        names = []
    for part, what in _ZIPPED.items():
        if any(name.startswith(part) or name.endswith(f"/{part}") for name in names):
            return what
    return "a zip archive: unpack it"


def _wide(head: bytes) -> str | None:
    """Detect UTF-16 and UTF-32 without a byte order mark by the zero bytes of Latin letters."""
    if head.startswith(tuple(_WIDE)):
        return None
    sample = head[: len(head) // 4 * 4]
    for name, width, at in (
        *(("utf-32le", 4, (1, 2, 3)), ("utf-32be", 4, (0, 1, 2))),
        *(("utf-16le", 2, (1,)), ("utf-16be", 2, (0,))),
    ):
        zeros = [sample[place::width].count(0) for place in range(width)]
        n = max(1, len(sample) // width)
        others = [zeros[place] for place in range(width) if place not in at]
        if sample and min(zeros[place] for place in at) > 0.3 * n and max(others) < 0.05 * n:
            return f"{name.upper()} without a byte order mark: convert it, iconv -f {name} -t utf-8"
    return None


def opened_text(path: Path, *, html: bool = False) -> BinaryIO:
    """Open a text file, decompressed if needed, and converted to UTF-8 if marked as UTF-16 or 32.

    Carriage returns that end lines alone become line feeds. ``html``: the file may be a web page.
    Raises InputError if the file is not text, with its format if that is known.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    open_packed = next((f for mark, f in _PACKED.items() if head.startswith(mark)), None)
    stream: BinaryIO = path.open("rb") if open_packed is None else open_packed(path)  # pyright: ignore
    try:
        head = stream.read(_HEAD)
        what = named(path, head)
        if what is not None and not (html and what.startswith("a web page")):
            packed = "packed, and inside " if open_packed is not None else ""
            raise InputError(f"{path} is {packed}{what}.")
        wide = next((name for mark, name in _WIDE.items() if head.startswith(mark)), None)
        if wide is not None:
            stream = io.BytesIO(_from_wide(path, head + stream.read(), wide))
            head = stream.read(_HEAD)
        if (
            b"\r" in head and b"\n" not in head
        ):  # as old Macintoshes and some spreadsheets end lines
            whole = head + stream.read()
            stream = io.BytesIO(whole if b"\n" in whole else whole.replace(b"\r", b"\n"))
        stream.seek(0)
    except (EOFError, OSError, lzma.LZMAError) as error:
        raise InputError(f"{path} cannot be unpacked: {error}.") from None
    return stream


def _from_wide(path: Path, raw: bytes, encoding: str) -> bytes:
    try:
        return raw.decode(encoding).encode()
    except UnicodeError as error:
        raise InputError(
            f"{path} begins with the mark of {encoding.upper()} but cannot be decoded: {error}. "
            "Is it truncated?"
        ) from None


def decoded(path: Path, raw: bytes, line: int, before: int) -> str:
    """Decode ``raw`` as UTF-8. ``before`` is the number of bytes of the file before it.

    Raises InputError with the place of the error, and the text there in other encodings.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line += raw.count(b"\n", 0, error.start)
        raise InputError(
            f"{path}:{line} is not UTF-8: byte 0x{raw[error.start]:02x} at offset "
            f"{before + error.start}. {advice(raw, error.start)}"
        ) from None
    if "\0" in text:
        at = text.index("\0")
        line += text.count("\n", 0, at)
        raise InputError(f"{path}:{line} holds a zero byte: the file is damaged, or is not text.")
    return text


def advice(raw: bytes, at: int) -> str:
    """Explain how to convert the file, with the text at ``at`` in each encoding that can read it."""
    begin, end = raw.rfind(b"\n", 0, at) + 1, raw.find(b"\n", at)
    begin, end = max(begin, at - 2000), min(len(raw) if end < 0 else end, at + 2000)
    row, found = raw[begin:end], []
    for encoding in ENCODINGS:
        try:
            text, start = row.decode(encoding), len(row[: at - begin].decode(encoding))
        except UnicodeDecodeError:
            continue
        odd = {unicodedata.name(c, "?").split()[0] for c in text if ord(c) > 127}
        if "?" in odd:  # control characters, unassigned ones
            continue
        excerpt = text[max(0, start - 8) : start + 12].strip()
        # The text with the fewest scripts is the likeliest one.
        found.append((len(odd), len(found), f"{excerpt!r} as {encoding}"))
    said = ", ".join(words for _, _, words in sorted(found)[:4])
    return (
        "Convert the file from the encoding that it was saved in (cp1252 in Western Europe, cp932 in "
        "Japan, gb18030 in China ...): iconv -f ENCODING -t utf-8."
        + (f" This place reads {said}." if said else "")
    )
