"""Every key that README, docs and examples name exists, and so does every choice of a group."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from harness import methods
from harness.compose import override_grammar
from harness.compose.command_line import compose_trial
from harness.compose.key_comments import key_comments

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "coming_from.md"
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")]
GROUPS = ("data", "model", "method", "training", "evaluation", "tracking", "launcher")
WHOLE = ("name", "seed", "search", "confirm", "objectives", "limits")


def ours() -> list[str]:
    """Return the text in backticks in the middle column of the page's tables."""
    cells = [line.split("|")[2] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    texts = [text.strip("'") for cell in cells for text in re.findall(r"`([^`]+)`", cell)]
    return [word for text in texts for word in re.split(r"\s+(?![^{\[\"]*[}\]\"])", text)]


@pytest.fixture(scope="module")
def known() -> set[str]:
    tree = compose_trial([])[1]
    from omegaconf import OmegaConf

    keys = set(override_grammar.keys_of(OmegaConf.create(dict(tree))))
    return keys | {f"method.{f}" for name in methods.METHODS for f in methods.field_names(name)}


def test_every_key_of_ours_exists(known):
    keys = [word.split("=")[0] for word in ours()]
    dotted = [k for k in keys if k.split(".")[0] in (*GROUPS, *WHOLE) and "." in k]
    assert len(dotted) > 100
    free = ("method.config",)
    missing = [k for k in dotted if k not in known and not k.startswith(free)]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_key_that_a_page_names_exists(page, known):
    """Keys in code, whole or followed by a value; names of files and of Python are none."""
    text = page.read_text(encoding="utf-8")
    text = text.split("<!-- table: begin -->")[0]  # measured tables quote names of parameters
    groups = "|".join((*GROUPS, "retention", "search", "confirm", "limits"))
    named = re.findall(rf"(?<![\w./])((?:{groups})\.[a-z_0-9.]*[a-z_0-9])(?![\w(/*…])", text)
    known = known | {entry.key for entry in key_comments(ROOT / "conf")}
    free = ("method.config", "launcher.options", "evaluation.per_task", "search.space")
    missing = {k for k in named if k not in known and not k.startswith(free)}
    assert not {k for k in missing if k.rpartition(".")[2] not in ("py", "yaml", "md", "csv")}


def test_every_choice_of_a_group_exists():
    conf = ROOT / "conf"
    chosen = [word.split("=") for word in ours() if re.fullmatch(r"[a-z]+=[a-z0-9_,]+", word)]
    chosen = [
        (group, name) for group, names in chosen if group in GROUPS for name in names.split(",")
    ]
    assert len(chosen) > 20
    assert not [pair for pair in chosen if not (conf / pair[0] / f"{pair[1]}.yaml").is_file()]


def test_every_line_can_be_typed_into_a_shell():
    """bash hands each override over in one piece, and the grammar reads it."""
    texts = re.findall(r"`([^`\n]+=[^`\n]+)`", PAGE.read_text())
    typed = [t for t in texts if re.match(r"'?[a-z_.]+=", t) and "..." not in t]
    assert len(typed) > 40
    script = "".join(f"printf '%s\\0' {text}; printf '\\0';" for text in typed)
    out = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    said = [words.split("\0") for words in out.split("\0\0")[:-1]]
    assert len(said) == len(typed)
    values = []
    for text, words in zip(typed, said, strict=True):
        assert len(words) == (1 if text[0] == "'" else len(text.split())), text
        values += [override_grammar.parse(word).value() for word in words]
    assert "{instruction}\n\n{input}" in values
    assert {"embed_tokens": 1e-5, "lm_head": 1e-5} in values
