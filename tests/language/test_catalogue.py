"""The catalogue has every sentence of the code, with its values, and no other."""

from __future__ import annotations

import ast
import re
from string import Formatter

import pytest
from sentences import of_page, of_python, recorded_sentences, sentences

from harness.errors import InputError
from harness.language import (
    LANGUAGES,
    LONGEST,
    catalogue,
    counted,
    in_language,
    language,
    recorded,
    recorded_catalogue,
    retold,
    say,
)

TRANSLATED = [name for name in LANGUAGES if name != "en"]
NO_VALUES = re.compile(r"\{validation\.bits_per_byte: minimize\}")  # a setting, as it is typed


def places(template: str) -> set[str]:
    """Return the named places of a template; none where its braces are text."""
    if NO_VALUES.search(template.replace("{{", "").replace("}}", "")) and "{{" not in template:
        return set()
    return {name for _, name, _, _ in Formatter().parse(template) if name}


@pytest.mark.parametrize("read", [catalogue, recorded_catalogue])
@pytest.mark.parametrize("name", TRANSLATED)
def test_every_sentence_is_translated_and_nothing_else(name, read):
    said, known = sentences() if read is catalogue else recorded_sentences(), read(name)
    assert {text: where for text, where in said.items() if text not in known} == {}
    assert [text for text in known if text not in said] == []


@pytest.mark.parametrize("read", [catalogue, recorded_catalogue])
@pytest.mark.parametrize("name", TRANSLATED)
def test_a_translation_has_the_same_values(name, read):
    known = read(name)
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


def test_a_recorded_sentence_is_english_and_retold_with_the_sentences_in_it():
    with in_language("ja"):
        loss = "the {loss} became {value} at step {step}"
        reason = recorded(loss, loss="loss", value="nan", step=35)
        text = recorded("not begun: {why}", why=reason)
        assert text == "not begun: the loss became nan at step 35"
        assert retold(text) == "開始せず: loss がステップ 35 で nan になりました"
        assert retold("a library's {own} message") == "a library's {own} message"
        assert retold("not begun: " + "x" * LONGEST).startswith("not begun")
    assert retold(text) == text  # in English


@pytest.mark.parametrize("name", TRANSLATED)
def test_every_recorded_sentence_is_found_again(name):
    """Each is formatted, as into a record, and translated with its own template, not with another's."""
    for template, translation in recorded_catalogue(name).items():
        values: dict[str, object] = {}
        for place in places(template):
            number = re.search(rf"\{{{place}:[^}}]+\}}", template)
            values[place] = 7 if number else f"<{place}>"
        text = recorded(template, **values)
        shown = {place: re.search(r"7\S*|<\w+>", str(value))[0] for place, value in values.items()}
        with in_language(name):
            told = retold(text)
        assert re.sub(r"7[\d.]*%?|700%", "7", told) == translation.format(**shown), template


def test_an_unknown_language_is_refused_with_those_there_are():
    accepted = "language='fr' cannot be used: it must be en or ja"
    with pytest.raises(InputError, match=accepted), in_language("fr"):
        pass
