"""General text by domain, used to measure forgetting, and separate text for replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import builtin
from harness.config import DataConfig
from harness.data.rows.columns import as_text
from harness.data.rows.files.sources import (
    DOCUMENT_END,
    SOURCE_OF_SUFFIX,
    naming,
    read_records,
)
from harness.data.rows.files.web_pages import is_url
from harness.data.rows.pieces import documents
from harness.data.rows.sampling import sample
from harness.errors import InputError, unknown
from harness.paths import user_path

Domains = dict[str, tuple[str, ...]]
_Given = Mapping[str, str] | list[str] | str | None

_SOURCES = {suffix: source for suffix, source in SOURCE_OF_SUFFIX.items() if source != "text"}


@dataclass(frozen=True)
class GeneralTexts:
    """General text by use. No document of ``replay`` is in another set."""

    search: Domains  # {domain: documents} that trials are measured on
    test: Domains  # those that only finalists are measured on
    replay: tuple[str, ...]  # each document once; () if none is configured
    counts: dict[str, int]


def read_general(config: DataConfig) -> GeneralTexts:
    """Read the general text for the search, for finalists, and for replay.

    Without ``general_test``, documents of a domain go to the first two sets in turn. If ``replay`` is
    the same as ``general``, they go to the third in turn as well. ``general_limit`` takes a random
    sample of a domain. Raises InputError if a domain has too few documents, or if other replay text
    contains a document that is measured on.
    """
    domains = _read(config.general, "general", builtin.GENERAL, config)
    uses = ["general"]
    if config.general_test is None:
        uses.append("general_test")
    same = bool(domains) and config.replay == config.general != "builtin"
    if same:
        uses.append("replay")
    parts = _dealt(domains, uses)
    if config.general_test is not None:
        given = _read(config.general_test, "general_test", builtin.GENERAL_TEST, config)
        parts["general_test"] = given
    counts: dict[str, int] = {}
    measured = []
    for use in ("general", "general_test"):
        seed, limit = config.split_seed, config.general_limit
        kept = {name: tuple(sample(texts, limit, seed)) for name, texts in parts[use].items()}
        n_left_out = sum(len(parts[use][name]) - len(texts) for name, texts in kept.items())
        if n_left_out:
            counts[f"{use}_documents_left_out_by_limit"] = n_left_out
        measured.append(kept)
    if same:
        documents = _each(parts["replay"])
        held_out = {_words(text) for of in measured for text in _each(of)}
        documents = tuple(text for text in documents if _words(text) not in held_out)
        counts["replay_documents_dealt_from_general"] = len(documents)
    else:
        documents = _each(_read(config.replay, "replay", builtin.REPLAY, config))
        _check_apart(documents, measured)
    return GeneralTexts(measured[0], measured[1], documents, counts)


def _dealt(domains: Domains, uses: Sequence[str]) -> dict[str, Domains]:
    """Return the documents of each domain dealt out in turn to each of ``uses``."""
    purposes = {
        "general": "one for the search",
        "general_test": "one for the test",
        "replay": "one to look back at",
    }
    for name, texts in domains.items():
        if len(texts) < len(uses):
            has = "one document" if len(texts) == 1 else f"{len(texts)} documents"
            needed = {2: "two", 3: "three"}[len(uses)]
            *first, last = [purposes[use] for use in uses]
            others = " or ".join(f"data.{use}" for use in uses[1:])
            others += " to other text" * ("replay" in uses)
            raise InputError(
                f"data.general: domain '{name}' has {has}. At least {needed} are needed: "
                f"{', '.join(first)} and {last}. In a text file, separate documents by blank lines. "
                f"Or set {others}."
            )
    return {
        use: {name: texts[place :: len(uses)] for name, texts in domains.items()}
        for place, use in enumerate(uses)
    }


def _each(domains: Domains) -> tuple[str, ...]:
    """Return the documents of all domains, each once."""
    return tuple(dict.fromkeys(text for texts in domains.values() for text in texts))


def _check_apart(documents: Sequence[str], measured: Sequence[Domains]) -> None:
    """Raise InputError if replay ``documents`` contain one of ``measured``.

    Forgetting cannot be measured on text that was trained on. Documents are compared by their words,
    ignoring white space.
    """
    held_out = {_words(text) for domains in measured for text in _each(domains)}
    n_shared = sum(_words(text) in held_out for text in documents)
    if n_shared:
        raise InputError(
            f"data.replay: {n_shared} of its {len(documents)} documents are also in data.general or "
            "data.general_test, on which forgetting is measured. Give other text, or set data.replay "
            "to the same value as data.general to have its documents dealt out."
        )


def _words(text: str) -> str:
    return " ".join(text.split())


def _read(given: _Given, field: str, own: Path, config: DataConfig) -> Domains:
    with naming(f"data.{field}"):
        paths = _paths(given, field, own)
        return {name: _read_texts(path, config) for name, path in paths.items()}


def _paths(given: _Given, field: str, own: Path) -> dict[str, str]:
    """Return `{domain: file or URL}`: 'builtin', 'everyday' and other folders have a domain a file."""
    if not given:
        return {}
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, str):
        if is_url(given):
            return {field.removesuffix("_test"): given}
        folder = {"builtin": own, "everyday": builtin.EVERYDAY}.get(given) or user_path(given)
        if not folder.is_dir():
            return {field.removesuffix("_test"): str(folder)}
        files = sorted(str(path) for path in folder.iterdir() if path.is_file())
        if not files:
            raise InputError(f"The folder {given} is empty.")
    else:
        files = list(given)
    domains = {Path(path).stem: path for path in files}
    if len(domains) < len(files):
        raise InputError(
            f"Two files have the same name ({', '.join(files)}). Name the domains, e.g. "
            f"'data.{field}={{news: a/text.jsonl, law: b/text.jsonl}}'."
        )
    return domains


def _read_texts(given: str, config: DataConfig) -> tuple[str, ...]:
    """Return the documents of one file or web page, without empty ones."""
    path = user_path(given)
    source = "pages" if is_url(given) else _SOURCES.get(path.suffix.lower(), "text")
    records = read_records(source, given)
    texts = []
    for where, row in records:
        if not isinstance(row, dict):
            raise InputError(f"{where} is not an object: a row must have named columns.")
        column = config.text_column if config.text_column in row else "text"
        if column not in row:
            raise InputError(f"{where} has no column of text. {unknown('column', column, row)}")
        texts.append(as_text(row[column], f"{where}, column '{column}'"))
    if not any(text.strip() for text in texts):
        raise InputError(f"{given} holds only empty documents.")
    texts = [text for text in texts if text.strip()]
    named = source != "text" or DOCUMENT_END.encode() in path.read_bytes()
    return tuple(texts if named else documents(texts))  # a row or a marked part is a document
