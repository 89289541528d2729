"""Saved web pages and text files as documents: words and titles, without scripts and navigation.

Nothing is fetched: a page is what lies on the disk.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path

from harness.data.rows.files.encodings import advice, named
from harness.errors import InputError
from harness.paths import user_path

HTML = (".html", ".htm", ".xhtml")
TEXT = (".txt", ".text", ".md")
# What is on a page beside its text. A <header> may hold the headline, so it stays.
_DROPPED = {
    *("script", "style", "noscript", "template", "nav", "svg", "math", "iframe", "object", "head"),
    *("canvas", "audio", "video", "select", "button", "footer", "aside", "dialog"),
}
_BLOCKS = {
    *("p", "div", "section", "article", "main", "header", "h1", "h2", "h3", "h4", "h5", "h6"),
    *("ul", "ol", "dl", "dt", "dd", "table", "blockquote", "figure", "figcaption", "hr", "address"),
    *("pre", "body", "caption", "details", "summary", "fieldset", "legend"),
}
_LINES = {"br", "li", "tr"}
_IN_HEAD = {"meta", "link", "style", "script", "base", "noscript", "template", "title", "object"}
_VOID = {
    *("br", "hr", "img", "input", "meta", "link", "source", "wbr", "area", "base", "col", "embed"),
}
# Browsers read these names as the larger sets.
_CHARSETS = {"iso-8859-1": "cp1252", "latin1": "cp1252", "latin-1": "cp1252", "us-ascii": "cp1252"}
_CHARSETS |= {"ascii": "cp1252", "shift_jis": "cp932", "shift-jis": "cp932", "sjis": "cp932"}
_CHARSETS |= {"x-sjis": "cp932", "gb2312": "gb18030", "gbk": "gb18030", "euc-kr": "cp949"}
_CHARSETS |= {"utf-16": "utf-8", "utf-16le": "utf-8", "utf-16be": "utf-8"}  # it was read as ASCII
_DECLARED = re.compile(rb"""<meta[^>]*?charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]+)""", re.IGNORECASE)
_XML = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9_.:-]+)""", re.IGNORECASE)
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


def pages_of(given: Sequence[str]) -> list[str]:
    """The files meant: a folder stands for all pages and texts in it, sorted by path.

    Raises InputError for a folder without any.
    """
    files = []
    for item in given:
        folder = user_path(item)
        if not folder.is_dir():
            files.append(item)
            continue
        found = sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in HTML + TEXT and path.is_file()
        )
        if not found:
            raise InputError(f"{item} holds no page: files that end in {', '.join(HTML + TEXT)}.")
        files += map(str, found)
    return files


def page(path: Path, seen: Counter[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """One document, `{text, title}`; the title is its first line too. Empty where nothing is said."""
    raw = path.read_bytes()
    what = named(path, raw[:65536])
    if what is not None and not what.startswith("a web page"):
        raise InputError(f"{path} is {what}.")
    is_html = path.suffix.lower() in HTML
    text = decoded(path, raw, is_html)
    seen["byte_order_marks"] += text.startswith("\ufeff")
    seen["crlf_line_ends"] += text.count("\r\n")
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    title, body = text_of_html(text) if is_html else ("", cleaned(text))
    if title and body and body.split("\n", 1)[0] != title:
        body = f"{title}\n\n{body}"
    yield str(path), {"text": body, "title": title}


def decoded(path: Path, raw: bytes, is_html: bool) -> str:
    """By byte order mark, else by what the page declares, else UTF-8. InputError where that fails."""
    name = next((name for mark, name in _MARKS.items() if raw.startswith(mark)), None)
    how = "its byte order mark"
    if name is None and is_html:
        declared = _DECLARED.search(raw[:4096]) or _XML.search(raw[:4096])
        if declared is not None:
            name = declared[1].decode("ascii").lower()
            name, how = _CHARSETS.get(name, name), "what it declares"
    try:
        return raw.decode(name or "utf-8")
    except LookupError:
        raise InputError(f"{path} declares the charset '{name}', which is not known.") from None
    except UnicodeDecodeError as error:
        why = f"{name}, by {how}" if name else "UTF-8, and declares no charset"
        raise InputError(
            f"{path} is not {why}: byte 0x{raw[error.start]:02x} at offset {error.start}. "
            + advice(raw, error.start)
        ) from None


def text_of_html(html: str) -> tuple[str, str]:
    """(title, text): paragraphs between blank lines, entities decoded, white space collapsed."""
    parser = _Page()
    parser.feed(html)
    parser.close()
    return " ".join("".join(parser.title).split()), cleaned("".join(parser.said))


def cleaned(text: str) -> str:
    """Lines without white space around or runs of it inside, at most one empty line between them."""
    lines = (" ".join(line.replace("\u00ad", "").split()) for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


class _Page(HTMLParser):
    """Collects the title and what is said outside of dropped elements."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self.said: list[str] = []
        self._dropped: list[str] = []  # dropped elements that are open
        self._in_title = self._is_titled = False
        self._verbatim = 0  # depth of <pre>, whose line ends count

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title" and not self._is_titled and "svg" not in self._dropped:
            self._in_title = self._is_titled = True
        elif self._dropped == ["head"] and tag not in _IN_HEAD:
            self._dropped.clear()  # a head that is never closed
        if tag in _DROPPED:
            self._dropped.append(tag)
        if not self._dropped:
            self._break(tag)
            self._verbatim += tag == "pre"
            self.said += [" "] * (tag in ("td", "th"))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _VOID and not self._dropped:  # <script/> and <div/> are not closed in HTML
            self._break(tag)
        elif tag not in (*_VOID, "svg", "math") and "svg" not in self._dropped:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        elif tag in self._dropped:
            del self._dropped[self._dropped.index(tag) :]
        elif not self._dropped:
            self.said += ["\n\n"] * (tag in _BLOCKS)
            self._verbatim -= tag == "pre" and self._verbatim > 0

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title.append(data)
        elif not self._dropped:
            self.said.append(data if self._verbatim else re.sub(r"\s+", " ", data))

    def _break(self, tag: str) -> None:
        self.said += ["\n\n"] * (tag in _BLOCKS) + ["\n"] * (tag in _LINES)
