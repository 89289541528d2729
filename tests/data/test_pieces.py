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
    assert found[0] == "short" and "".join(found[1:]) == LONG
    assert all(len(tokenizer(piece)["input_ids"]) <= max_length for piece in found)
    assert len(found) == 2 or max_length < 500
    twice = in_pieces([LONG, LONG], tokenizer, max_length)
    assert twice[0] == twice[1] and twice == [p for piece in found[1:] for p in (piece, piece)]


def test_pieces_end_where_something_ends(tokenizer):
    assert in_pieces([LONG], tokenizer, 20)[0] == "First line here.\n"


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
    general, test = read_general(config(general="a.txt"))
    assert [*general["general"], *test["general"]] == documents
