"""Overrides as typed: Hydra's grammar, and plain text for keys that take text.

Hydra refuses unquoted values that contain ``~``, ``=``, brackets or letters beyond ASCII, and in a
shell its quotes must be quoted again. A value that Hydra cannot read is therefore taken as plain text,
unless it was meant as a list, a mapping or a range. In double quotes ``\\n`` and ``\\t`` are read as in
YAML.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    Quote,
    QuotedString,
    RangeSweep,
    Sweep,
)
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.compose.accepted_values import Accepted, accepted
from harness.compose.quoting import escaped, pieces, shown, unread_escape
from harness.config import search_space
from harness.data.rows.files.sources import SOURCE_OF_SUFFIX
from harness.errors import InputError, nearest, unknown
from harness.records.secrets import looks_secret

GROUPS = ("model", "data", "method", "training", "evaluation", "tracking", "launcher", "sweep")
SEARCHABLE = ("method.", "training.", "retention.")
_KEY = re.compile(r"(\+\+|\+|~)?[A-Za-z_$][\w$./@:-]*", re.ASCII)
_RANGE = re.compile(r"\b(choice|range|interval|tag|glob|sort|shuffle|int|float|bool|str)\s*\(")
_WRITTEN = {
    "choice": "choice(a,b)",
    "range": "range(start,stop,step)",
    "interval": "interval(low,high)",
    "tag": "tag(log,interval(low,high))",
}
TAGS = {"log", "int"}  # of an interval


def parse_all(texts: Sequence[str]) -> list[Override]:
    """Parse a command line's overrides. Raises InputError for the first invalid one."""
    found = []
    for place, text in enumerate(texts):
        _, equals, value = text.partition("=")
        before = texts[place - 1] if place else ""
        after = texts[place + 1] if place + 1 < len(texts) else ""
        if not equals and after.startswith("="):
            value = after[1:] or (texts[place + 2] if place + 2 < len(texts) else "...")
            raise InputError(
                f"{text!r} is not an override: write it without spaces around '=': {text}={value}"
            )
        if not equals and before.endswith(("=", ",")):
            raise InputError(
                f"{text!r} is not an override. Does it belong to {before!r}? Write both without a "
                f"space between them: {before}{text}"
            )
        found.append(parse(text))
    return found


def parse(text: str) -> Override:
    """Parse one override. Raises InputError with a suggestion if ``text`` is invalid."""
    head, equals, value = text.partition("=")
    if not equals and not head.startswith("~"):
        raise InputError(f"{text!r} is not an override: {_without_equals(text)}")
    if not _KEY.fullmatch(head):
        raise InputError(
            f"{text!r} is not an override: {head!r} is no key. Overrides are written key=value, "
            "without spaces around '='."
        )
    lost = unread_escape(value)
    if lost is not None:
        raise InputError(
            f"{_said(text)}: {lost} stands outside of double quotes, where it is a backslash and a "
            f"letter. For a line break or a tab type {_typed(head, _as_meant(value))}; a backslash "
            "itself is \\\\ in double quotes."
        )
    key = head.lstrip("+~")
    try:
        override = _hydras(f"{head}{equals}{_escapes_read(value)}")
    except (HydraException, OmegaConfBaseException) as error:
        override = _hydras(f"{head}=x")
        override._value = _literal(key, head, value, error)
        _check_range(key, override.value(), value)
    else:
        _check_commas(override, value)
        own = override.value()
        _check_range(key, own, value)
        if accepted(key).is_text_alone and isinstance(own, int | float | list | dict):
            override._value = value.strip()  # a name such as 007 or [INST]
    override.input_line = text
    if re.search(r"[\x00-\x1f\x7f]", text) and not is_swept(override):
        override.input_line = f"{head}={shown(override.value())}"  # on one line in every message
    return override


def _check_range(key: str, own: Any, value: str) -> None:
    """Raise InputError for values to search that are not written as a range: ``choise(2,4)``, [2,4]."""
    kinds = accepted(key)
    if not key.startswith(SEARCHABLE) or not kinds.other or kinds.list or kinds.mapping:
        return
    called = re.match(r"([A-Za-z]+)\s*[(\[]", own) if isinstance(own, str) else None
    if (isinstance(own, list) and len(own) > 1) or called is not None:
        meant = nearest(called[1], _WRITTEN) if called is not None else ["choice"]
        written = [_WRITTEN[name] for name in meant[:1] or _WRITTEN]
        raise InputError(
            f"{_said(f'{key}={value}')} cannot be read: values to search are written "
            f"{' or '.join(written)}."
        )


def text_of(override: Override) -> str:
    """Return ``override`` as it was typed."""
    assert override.input_line is not None  # None only for an override that nobody typed
    return override.input_line


def _escapes_read(value: str) -> str:
    """Replace escapes in double quotes, where Hydra itself reads only an escaped quote."""
    return "".join(
        QuotedString(escaped(piece[1:-1]), Quote.double).with_quotes()
        if len(piece) > 1 and piece[0] == '"'
        else piece
        for piece in pieces(value)
    )


def _hydras(text: str) -> Override:
    return OverridesParser.create().parse_override(text)


def _said(text: str) -> str:
    return text if text.isprintable() else repr(text)


def _typed(head: str, value: Any) -> str:
    """Return ``value`` as it is typed in a shell."""
    return shlex.quote(f"{head}={value if isinstance(value, str) else shown(value)}")


def _without_equals(text: str) -> str:
    if text.endswith((".yaml", ".yml")):
        name = Path(text).stem
        return (
            "settings in a file of yours are chosen by its name. Put it into the folder sweep/ of a "
            f"folder of yours and type --config-dir=FOLDER sweep={name}"
        )
    if Path(text).suffix.lower() in SOURCE_OF_SUFFIX:
        return f"a data file is typed data.train={text}"
    return "it has no '='. Overrides are written key=value, such as method=lora."


def _as_meant(value: str) -> str:
    """Return ``value`` in quotes, with line breaks and tabs for a backslash and a letter."""
    try:
        read = _hydras(f"x={value}").value()
    except (HydraException, OmegaConfBaseException):
        read = value
    if isinstance(read, list):
        return shown([escaped(item) if isinstance(item, str) else item for item in read])
    return shown(escaped(read if isinstance(read, str) else value))


def _literal(key: str, head: str, value: str, error: Exception) -> Any:
    """Interpret a ``value`` that Hydra refuses. Raises InputError if it is ambiguous."""
    kinds, given = accepted(key), value.strip()
    ranged = _RANGE.search(given)
    if ranged and ranged.start() == 0 and (key.startswith(SEARCHABLE) or not kinds.text):
        short = " A ')' is missing." if given.count("(") > given.count(")") else ""
        why = short or f" {str(error).splitlines()[0].rstrip('.')}."
        raise InputError(
            f"{_said(f'{head}={value}')} cannot be read.{why} It is written "
            f"{_WRITTEN.get(ranged[1], f'{ranged[1]}(x)')}."
        )
    is_list = given.startswith("[") and given.endswith("]")
    is_mapping = given.startswith("{") and given.endswith("}")
    if not (is_list or is_mapping) or kinds.is_text_alone or (is_mapping and _is_path(kinds)):
        if kinds.list and "," in value:
            raise _several(key, head, value, _split(value))
        return value
    try:
        if ranged:
            raise ValueError("a range in a list or mapping")
        return OmegaConf.to_container(OmegaConf.create(given))
    except (OmegaConfBaseException, yaml.YAMLError, ValueError):
        example = _split(given[1:-1]) if is_list else '{key: "a", other: "b"}'
        raise InputError(
            f"{_said(f'{head}={value}')} cannot be read as a {'list' if is_list else 'mapping'}. Put "
            "each value that holds brackets, commas or colons into double quotes: "
            f"{_typed(head, example)}"
        ) from None


def _split(value: str) -> list[str]:
    """Split at commas outside of brackets."""
    return [item.strip(" \"'") for item in re.split(r",(?![^()\[\]{}]*[)\]}])", value)]


def _several(key: str, head: str, value: str, values: Any) -> InputError:
    """Return the error for ``a,b`` at a key that cannot be searched, with the way to type a list."""
    kinds = accepted(key)
    several = f" Several are a list: {_typed(head, values)}." if kinds.list else ""
    one = f" One text with a comma is typed {_typed(head, shown(value))}." if kinds.text else ""
    return InputError(f"{_said(f'{head}={value}')}: {key} cannot be searched.{several}{one}")


def _is_path(kinds: Accepted) -> bool:
    return kinds.text and not kinds.mapping


def _check_commas(override: Override, value: str) -> None:
    key, sweep = override.key_or_group, override.value()
    if isinstance(sweep, dict) and any(isinstance(item, Sweep) for item in sweep.values()):
        raise InputError(
            f"{_said(f'{key}={value}')} cannot be read: a range in a mapping is put into double "
            f"""quotes, such as {_typed("search.space", '{method.r: "choice(2,4)"}')}."""
        )
    if not isinstance(sweep, ChoiceSweep) or not sweep.simple_form:
        return
    kinds = accepted(key)
    if key not in GROUPS and not key.startswith(SEARCHABLE) and (kinds.text or kinds.list):
        values = OmegaConf.to_object(OmegaConf.create(list(sweep.list)))
        raise _several(key, override.get_key_element(), value, values)


def for_hydra(override: Override) -> str:
    """Return the override in a form that Hydra's own parser reads."""
    value, head = override.value(), override.get_key_element()
    if value is None or not isinstance(value, str | list):
        return text_of(override)
    texts = [value] if isinstance(value, str) else value
    written = [
        QuotedString(v, Quote.double).with_quotes() if isinstance(v, str) else shown(v)
        for v in texts
    ]
    return f"{head}={written[0] if isinstance(value, str) else '[' + ','.join(written) + ']'}"


def is_group(override: Override) -> bool:
    """Return True if the override chooses a building block rather than a value."""
    return override.key_or_group in (*GROUPS, "tuned")


def is_swept(override: Override) -> bool:
    return override.is_sweep_override()


def dimension(override: Override) -> search_space.Dimension:
    """Return the dimension of choice(...), range(...), interval(...) and tags. InputError if empty."""
    key, value = override.key_or_group, override.value()
    if isinstance(value, ChoiceSweep):
        assert value.list is not None
        plain = OmegaConf.to_object(OmegaConf.create(list(value.list)))
        assert isinstance(plain, list)
        return search_space.choice(key, plain)
    if isinstance(value, RangeSweep):
        assert value.start is not None and value.stop is not None
        return search_space.stepped(key, value.start, value.stop, value.step)
    if isinstance(value, IntervalSweep):
        assert value.start is not None and value.end is not None
        for tag in value.tags - TAGS:
            raise unknown(f"tag in {key}", tag, TAGS)
        log = "log" in value.tags
        integer = "int" in value.tags or isinstance(value.start, int)  # int(interval(...))
        return search_space.interval(key, value.start, value.end, log=log, integer=integer)
    raise InputError(f"{override.input_line}: glob() cannot be searched; write choice(...).")


def dimension_of(key: str, text: str, where: str | None = None) -> search_space.Dimension:
    """Return the dimension written as a string in a YAML's ``search.space``, or at ``where``."""
    override = parse(f"{key}={text}")
    if not override.is_sweep_override():
        raise InputError(
            f"{where or f'search.space.{key}'}={text!r} is no range: write choice(...), range(...), "
            "interval(...) or tag(log, interval(...))."
        )
    return dimension(override)


def keys_of(tree: Any, prefix: str = "") -> Iterator[str]:
    """Return every dotted key of a composed tree, including inner nodes."""
    if not isinstance(tree, DictConfig):
        return
    for key in tree:
        yield f"{prefix}{key}"
        yield from keys_of(tree._get_node(key), f"{prefix}{key}.")


def guard_environment() -> None:
    """Refuse ``${oc.env:NAME}`` where name or value look like a secret: configuration is recorded."""

    def read(name: str, *default: Any) -> Any:
        named = re.search(r"token|key|secret|passw|pwd|credential|cookie", name, re.IGNORECASE)
        if named or looks_secret(os.environ.get(name, "")):
            raise InputError(f"${{oc.env:{name}}}: a secret must not enter the configuration.")
        if name not in os.environ and not default:
            raise InputError(f"${{oc.env:{name}}}: there is no such environment variable.")
        return os.environ.get(name, *default)

    OmegaConf.register_new_resolver("oc.env", read, replace=True)
