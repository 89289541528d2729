"""Web pages and text files as documents: words and titles, without scripts and navigation."""

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
# Elements that are not part of a page's text. <header> is not listed: it may hold the headline.
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
# Browsers read these names as the larger character sets that contain them.
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
    """Return the files to read. A folder stands for all pages and texts in it, sorted by path.

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
            raise InputError(f"{item} has no page: no file that ends in {', '.join(HTML + TEXT)}.")
        files += map(str, found)
    return files


def page(
    path: Path, seen: Counter[str], charset: str | None = None
) -> Iterator[tuple[str, dict[str, str]]]:
    """Read one document as `{text, title}`. The title is also the first line. Empty if without text.

    ``charset`` is that of the server's answer, which counts for more than what the page declares.
    """
    raw = path.read_bytes()
    what = named(path, raw[:65536])
    if what is not None and not what.startswith("a web page"):
        raise InputError(f"{path} is {what}.")
    is_html = path.suffix.lower() in HTML
    text = decoded(path, raw, is_html, charset)
    seen["byte_order_marks"] += text.startswith("\ufeff")
    seen["crlf_line_ends"] += text.count("\r\n")
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    title, body = text_of_html(text) if is_html else ("", cleaned(text))
    if title and body and body.split("\n", 1)[0] != title:
        body = f"{title}\n\n{body}"
    yield str(path), {"text": body, "title": title}


def decoded(path: Path, raw: bytes, is_html: bool, charset: str | None = None) -> str:
    """Decode by the byte order mark, else by the declared charset, else UTF-8. May raise InputError."""
    name = next((name for mark, name in _MARKS.items() if raw.startswith(mark)), None)
    how = "its byte order mark"
    if name is None and charset is not None:
        name, how = _CHARSETS.get(charset.lower(), charset.lower()), "what its server declared"
    if name is None and is_html:
        declared = _DECLARED.search(raw[:4096]) or _XML.search(raw[:4096])
        if declared is not None:
            name = declared[1].decode("ascii").lower()
            name, how = _CHARSETS.get(name, name), "what it declares"
    try:
        return raw.decode(name or "utf-8")
    except LookupError:
        raise InputError(f"{path} declares the unknown charset '{name}'.") from None
    except UnicodeDecodeError as error:
        why = f"{name}, by {how}" if name else "UTF-8, and declares no charset"
        raise InputError(
            f"{path} is not {why}: byte 0x{raw[error.start]:02x} at offset {error.start}. "
            + advice(raw, error.start)
        ) from None


def text_of_html(html: str) -> tuple[str, str]:
    """Return (title, text), with blank lines between paragraphs, without entities and extra space."""
    parser = _Page()
    parser.feed(html)
    parser.close()
    return " ".join("".join(parser.title).split()), cleaned("".join(parser.said))


def cleaned(text: str) -> str:
    """Strip lines, collapse runs of white space, and keep at most one empty line between lines."""
    lines = (" ".join(line.replace("\u00ad", "").split()) for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


class _Page(HTMLParser):
    """Collects the title and the text outside of dropped elements."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self.said: list[str] = []
        self._dropped: list[str] = []  # open elements that are dropped
        self._in_title = self._is_titled = False
        self._verbatim = 0  # depth of <pre>, whose line ends are kept

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title" and not self._is_titled and "svg" not in self._dropped:
            self._in_title = self._is_titled = True
        elif self._dropped == ["head"] and tag not in _IN_HEAD:
            self._dropped.clear()  # the head may never be closed
        if tag in _DROPPED:
            self._dropped.append(tag)
        if not self._dropped:
            self._break(tag)
            self._verbatim += tag == "pre"
            self.said += [" "] * (tag in ("td", "th"))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _VOID and not self._dropped:  # in HTML, <script/> and <div/> open an element
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
