"""Saved pages as documents."""

from __future__ import annotations

import pytest

from harness.data.rows.files.pages import text_of_html
from harness.data.rows.general import read_general
from harness.data.rows.splits import read_splits
from harness.errors import InputError

PAGE = """<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>The  Isle &amp;
 its people</title><style>p { color: red }</style><script>var x = "<p>no</p>";</script></head>
<body><nav><ul><li>Home</li><li>About</li></ul></nav>
<header><h1>The Isle</h1></header>
<p>It lies   in the
sea&nbsp;&mdash; caf&eacute; &#x1F600; a&shy;b.<br>Second line<p>Unclosed <b>bold</b>text.
<table><tr><th>Name</th><th>Age</th></tr><tr><td>Ann</td><td>7</td></tr></table>
<ul><li>one</li><li>two</li></ul>
<pre>  x = 1
  y = 2</pre><!-- a comment --><noscript>Turn it on</noscript>
<svg><title>icon</title><path d="M0"/></svg><form><p>Kept words</p></form>
<script>if (a < b && "</p>") {}</script>
<footer>Imprint</footer><img src="x.png" alt="no"></body></html>"""


def test_words_and_title_without_the_rest():
    title, text = text_of_html(PAGE)
    assert title == "The Isle & its people"
    assert text == (
        "The Isle\n\nIt lies in the sea — café 😀 ab.\nSecond line\n\nUnclosed boldtext.\n\n"
        "Name Age\nAnn 7\n\none\ntwo\n\nx = 1\ny = 2\n\nKept words"
    )


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("just text", "just text"),
        ("<head><title>T</title><p>an open head", "an open head"),
        ("<title>T</title>a<script>never closed", "a"),
        ("<nav>x<p>y</nav>z", "z"),
        ("a</nav></p></div>b", "a\n\nb"),
        ("1 < 2 & 3 &unknown; &lt;b&gt;", "1 < 2 & 3 &unknown; <b>"),
        ("<div/>a<br/>b<script src='x'></script>c", "a\nbc"),
        ("<svg/>a<svg><g/></svg>b", "ab"),
    ],
)
def test_broken_html(html, text):
    assert text_of_html(html)[1] == text


TEXT = dict(source="pages", prompt_column=None, answer_column=None, text_column="text")


def test_a_folder_is_one_document_a_page(here, config):
    pages = here / "site" / "deep"
    pages.mkdir(parents=True)
    (here / "site" / "b.html").write_text("<title>B</title><p>bee</p>")
    (pages / "a.HTM").write_text("<title>Ay</title><h1>Ay</h1><p>aye</p>")
    (here / "site" / "c.txt").write_bytes("\ufeffline  one\r\nline two\r\n\r\n\r\n\r\nend".encode())
    (here / "site" / "empty.html").write_text("<script>1</script>")
    (here / "site" / "photo.jpg").write_bytes(b"\xff\xd8")
    data = config(**TEXT, train="site", validation=["site/b.html"], test_fraction=0.0)
    splits = read_splits(data)
    assert [e.references[0] for e in splits.train] == [
        "B\n\nbee",
        "line one\nline two\n\nend",
        "Ay\n\naye",
    ]
    assert splits.counts["train_rows_without_answer"] == 1, "a page without words"
    assert splits.counts["train_byte_order_marks"] == 1
    assert splits.counts["train_crlf_line_ends"] == 5
    general = read_general(config(general={"web": "site/b.html"}, general_test="site/c.txt")).search
    assert general == {"web": ("B\n\nbee",)}


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ('<meta charset="iso-8859-1">caf\xe9 \x93x\x94'.encode("latin-1"), "café “x”"),
        ("<meta charset=Shift_JIS>日本①".encode("cp932"), "日本①"),
        (
            '<meta http-equiv="Content-Type" content="text/html; charset=euc-jp">日本'.encode(
                "euc-jp"
            ),
            "日本",
        ),
        ("<p>é".encode("utf-16"), "é"),
        (b"\xef\xbb\xbf<meta charset=latin1>\xc3\xa9", "é"),
        ("<p>é ohne".encode(), "é ohne"),
        (b"<?xml version='1.0' encoding='windows-1252'?><p>\xe9", "é"),
    ],
)
def test_charsets(here, config, raw, text):
    (here / "a.html").write_bytes(raw)
    data = config(**TEXT, train="a.html", validation="a.html", test_fraction=0.0)
    assert read_splits(data).train[0].references == (text,)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"<p>caf\xe9", "a.html is not UTF-8, and declares no charset: byte 0xe9 at offset 6."),
        (b"<meta charset=klingon>x", "a.html declares the unknown charset 'klingon'."),
        (b"<meta charset=utf-8>\xff", "a.html is not utf-8, by what it declares: byte 0xff at"),
        (b"", "a.html is empty."),
    ],
)
def test_pages_that_cannot_be_read(here, config, raw, message):
    (here / "a.html").write_bytes(raw)
    data = config(**TEXT, train="a.html", validation="a.html", test_fraction=0.0)
    with pytest.raises(InputError) as error:
        read_splits(data)
    assert str(error.value).startswith("data.train: " + message)


def test_a_folder_without_pages(here, config):
    (here / "photos").mkdir()
    with pytest.raises(InputError, match=r"^data\.train: photos has no page: no file that ends in"):
        read_splits(config(**TEXT, train="photos"))
