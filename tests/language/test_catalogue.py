"""The catalogue has every sentence of the code, with its values, and no other."""

from __future__ import annotations

import ast
import re
from string import Formatter

import pytest
from sentences import of_page, of_python, sentences

from harness.errors import InputError
from harness.language import LANGUAGES, catalogue, counted, in_language, language, say

TRANSLATED = [name for name in LANGUAGES if name != "en"]
NO_VALUES = re.compile(r"\{validation\.bits_per_byte: minimize\}")  # a setting, as it is typed


def places(template: str) -> set[str]:
    """Return the named places of a template; none where its braces are text."""
    if NO_VALUES.search(template.replace("{{", "").replace("}}", "")) and "{{" not in template:
        return set()
    return {name for _, name, _, _ in Formatter().parse(template) if name}


@pytest.mark.parametrize("name", TRANSLATED)
def test_every_sentence_is_translated_and_nothing_else(name):
    said, known = sentences(), catalogue(name)
    assert {text: where for text, where in said.items() if text not in known} == {}
    assert [text for text in known if text not in said] == []


@pytest.mark.parametrize("name", TRANSLATED)
def test_a_translation_has_the_same_values(name):
    known = catalogue(name)
    assert {text: t for text, t in known.items() if places(text) != places(t)} == {}
    assert [text for text, t in known.items() if not t.strip() and text.strip()] == []


def test_the_collector_sees_each_form():
    source = """
say("a {n}" if n == 1 else "b {n}", n=n)
counted(n, "c", "d {n}")
HEADERS = say_each("e", "f")
WORDS = {"x": phrase("g"), "y": "not marked"}
say(variable)
"""
    assert set(of_python(ast.parse(source))) == {"a {n}", "b {n}", "c", "d {n}", "e", "f", "g"}
    assert list(of_page('{{ say("h {n}", n=1) }}<i title="{{ say("j") }}">{{ other("k") }}')) == [
        "h {n}",
        "j",
    ]
    with pytest.raises(AssertionError, match="not a template"):
        list(of_python(ast.parse('say(f"{n} trials")')))


def test_a_sentence_is_said_in_the_language_of_its_context():
    assert say("{n} methods", n=2) == "2 methods"
    assert counted(1, "{n} method", "{n} methods") == "1 method"
    with in_language("ja"):
        assert (language(), say("Method")) == ("ja", "手法")
        assert counted(2, "{n} method", "{n} methods") == "2 手法"
        assert say("a sentence of nobody, {x}", x=1) == "a sentence of nobody, 1"
    assert (language(), say("Method")) == ("en", "Method")


def test_braces_are_text_where_there_are_no_values():
    assert say("objectives={a: minimize}") == "objectives={a: minimize}"
    assert say("{x}", x="{y} {0.__class__}") == "{y} {0.__class__}"  # values are not templates


def test_an_unknown_language_is_refused_with_those_there_are():
    accepted = "language='fr' cannot be used: it must be en or ja"
    with pytest.raises(InputError, match=accepted), in_language("fr"):
        pass
