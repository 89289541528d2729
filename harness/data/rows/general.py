"""General text by domain, used to measure forgetting, and separate text for replay."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness import builtin
from harness.config import DataConfig
from harness.data.rows.columns import as_text
from harness.data.rows.files.pages import HTML
from harness.data.rows.files.sources import DOCUMENT_END, naming, read_records
from harness.data.rows.pieces import documents
from harness.errors import InputError, unknown
from harness.paths import user_path

Domains = dict[str, tuple[str, ...]]
_Given = Mapping[str, str] | list[str] | str | None

_SOURCES = {".jsonl": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
_SOURCES |= {suffix: "pages" for suffix in HTML}


def read_general(config: DataConfig) -> tuple[Domains, Domains]:
    """Return `{domain: documents}` for the search, and another such set for finalists only.

    Without ``general_test``, documents of a domain go to the two sets in turn. Limits take the first
    n of a domain. Raises InputError if a domain has too few documents.
    """
    general = _read(config.general, "general", builtin.GENERAL, config)
    if config.general_test is not None:
        test = _read(config.general_test, "general_test", builtin.GENERAL_TEST, config)
    else:
        for name, texts in general.items():
            if len(texts) < 2:
                raise InputError(
                    f"data.general: domain '{name}' has one document. At least two are needed: one "
                    "for the search and one for the test. In a text file, separate documents by "
                    "blank lines. Or set data.general_test."
                )
        test = {name: texts[1::2] for name, texts in general.items()}
        general = {name: texts[0::2] for name, texts in general.items()}
    limit = config.general_limit
    return _limited(general, limit), _limited(test, limit)


def read_replay(config: DataConfig, *measured: Domains) -> tuple[str, ...]:
    """Return general text to replay while training, each document once; () if none is configured.

    Raises InputError if it contains a document of ``measured``: forgetting cannot be measured on text
    that was trained on. Documents are compared by their words, ignoring white space.
    """
    domains = _read(config.replay, "replay", builtin.REPLAY, config)
    documents = tuple(dict.fromkeys(text for texts in domains.values() for text in texts))
    held_out = {_words(text) for of in measured for texts in of.values() for text in texts}
    n_shared = sum(_words(text) in held_out for text in documents)
    if n_shared:
        raise InputError(
            f"data.replay: {n_shared} of its {len(documents)} documents are also in data.general or "
            "data.general_test, on which forgetting is measured. Give other text."
        )
    return documents


def _words(text: str) -> str:
    return " ".join(text.split())


def _read(given: _Given, field: str, own: Path, config: DataConfig) -> Domains:
    with naming(f"data.{field}"):
        paths = _paths(given, field, own)
        return {name: _read_texts(path, config) for name, path in paths.items()}


def _limited(domains: Domains, limit: int | None) -> Domains:
    return {name: texts[:limit] for name, texts in domains.items()}


def _paths(given: _Given, field: str, own: Path) -> dict[str, Path]:
    """Return `{domain: file}`. 'builtin' and any other folder hold one domain in each file."""
    if not given:
        return {}
    if isinstance(given, Mapping):
        return {name: Path(path) for name, path in given.items()}
    if isinstance(given, str):
        folder = own if given == "builtin" else user_path(given)
        if not folder.is_dir():
            return {field.removesuffix("_test"): folder}
        files = sorted(path for path in folder.iterdir() if path.is_file())
        if not files:
            raise InputError(f"The folder {given} is empty.")
    else:
        files = [Path(path) for path in given]
    domains = {path.stem: path for path in files}
    if len(domains) < len(files):
        raise InputError(
            f"Two files have the same name ({', '.join(map(str, files))}). Name the domains, e.g. "
            f"'data.{field}={{news: a/text.jsonl, law: b/text.jsonl}}'."
        )
    return domains


def _read_texts(path: Path, config: DataConfig) -> tuple[str, ...]:
    """Return the documents of one file, without empty ones."""
    records = read_records(_SOURCES.get(path.suffix.lower(), "text"), str(path))
    texts = []
    for where, row in records:
        if not isinstance(row, dict):
            raise InputError(f"{where} is not an object: a row must have named columns.")
        column = config.text_column if config.text_column in row else "text"
        if column not in row:
            raise InputError(f"{where} has no column of text. {unknown('column', column, row)}")
        texts.append(as_text(row[column], f"{where}, column '{column}'"))
    if not any(text.strip() for text in texts):
        raise InputError(f"{path} holds only empty documents.")
    texts = [text for text in texts if text.strip()]
    named = path.suffix.lower() in _SOURCES or DOCUMENT_END.encode() in path.read_bytes()
    return tuple(texts if named else documents(texts))  # a row or a marked part is a document
