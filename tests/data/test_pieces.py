"""Long general texts: nothing of them is left out, and a file's headings are no documents."""

from __future__ import annotations

import pytest

from harness.data.rows.general import read_general
from harness.data.rows.pieces import in_pieces

LONG = (
    "First line here.\nSecond one, a bit longer than that.\n\nA new paragraph. It ends there. 😀 Öl"
)
LINES = ["One article. " * 20, "Another one. " * 20]


@pytest.mark.parametrize("max_length", [9, 16, 40, 500])
def test_pieces_are_the_whole_text(tokenizer, max_length):
    found = in_pieces(["short", LONG], tokenizer, max_length)
    assert found[0] == "short"
    assert put_together(found[1:], LONG)
    assert all(len(tokenizer(piece)["input_ids"]) <= max_length for piece in found)
    assert len(found) == 2 or max_length < 500
    twice = in_pieces([LONG, LONG], tokenizer, max_length)
    assert put_together(twice[0::2], LONG) and put_together(twice[1::2], LONG)


def put_together(pieces, text):
    """Return True if the pieces, each used once, make up the text."""
    left = sorted(pieces, key=len, reverse=True)
    while left:
        piece = next(piece for piece in left if text.startswith(piece))
        left.remove(piece)
        text = text.removeprefix(piece)
    return not text


def test_pieces_end_where_something_ends(tokenizer):
    assert "First line here.\n" in in_pieces([LONG], tokenizer, 20)


def test_few_pieces_are_not_the_beginnings(tokenizer):
    """One piece each of twelve long texts: from any place of them, and the same again."""
    texts = [" ".join(f"t{text}w{word}" for word in range(60)) for text in range(12)]
    first = in_pieces(texts, tokenizer, 40)[:12]
    assert first == in_pieces(texts, tokenizer, 40)[:12]
    assert [text.split("w")[0] for text in first] == [f"t{i}" for i in range(12)]
    assert sum(piece.startswith(f"t{i}w0 ") for i, piece in enumerate(first)) < 6


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        ("Title\n\nOne.\n\nSection\n\nTwo.", ["Title\n\nOne.", "Section\n\nTwo."]),
        ("\n".join(LINES), LINES),
        ("a line.\nmore of it.\nend.", ["a line.", "more of it.\nend."]),
        ("alpha\n\nbeta", ["alpha", "beta"]),
        ("T\n<|endoftext|>\nOne.", ["T", "One."]),
    ],
    ids=["headings", "a line each", "one document", "no sentences", "marked"],
)
def test_documents_of_a_text_file(here, config, text, documents):
    (here / "a.txt").write_text(text, encoding="utf-8")
    found = read_general(config(general="a.txt"))
    assert [*found.search["general"], *found.test["general"]] == documents
