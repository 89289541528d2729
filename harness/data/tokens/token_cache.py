"""Cache of encoded examples on disk, keyed by a hash of everything they were made from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.config import DataConfig
from harness.data.rows.chat_template import template_of
from harness.data.rows.example import Example, digest, fingerprint_examples
from harness.data.tokens.columns import described, read
from harness.data.tokens.encode import Encoded, encode
from harness.data.tokens.encoded import encoded_of
from harness.data.tokens.special_tokens import begins_with
from harness.records.disk_usage import keep_bound, mark_used, remove

_FORM = 3  # increase it when `encode` changes the sequences of an input, or the files change
_OPTIONAL = ("classes", "label_mask", "segments")
_ARRAYS = ("tokens", "first_label", "example", "label_bytes")
_CONTENT = "content.json"  # written last: types, sizes and checksums of the other files


def cached_encode(
    folder: Path,
    examples: Sequence[Example],
    tokenizer: Any,
    config: DataConfig,
    *,
    all_references: bool,
) -> Encoded:
    """Return the result of `encode`, in files under ``folder`` that all processes map.

    They are read if an earlier call had the same input, and written otherwise. Processes that begin
    together take turns with ``shared_work``, so that one of them encodes.
    """
    key = [
        _FORM,
        fingerprint_examples(examples),
        digest(example.template for example in examples),
        tokenizer_fingerprint(tokenizer),
        [config.loss_on, config.max_length, config.too_long, config.is_plain_text],
        [config.packing, config.truncate],
        [template_of(tokenizer, config), config.template_arguments, config.only_last_answer]
        if config.is_chat
        else None,
        all_references,
    ]
    path = folder / hashlib.sha256(json.dumps(key).encode()).hexdigest()
    return _load(path) or _made(path, examples, tokenizer, config, all_references)


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Return the sha256 over all that decides the ids of a text and the tokens around it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        rules: Any = [type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())]
    else:
        rules = json.loads(backend.to_str())
        for state in ("truncation", "padding"):  # remains from an earlier call
            rules.pop(state, None)
    content = [rules, begins_with(tokenizer), tokenizer.eos_token_id, tokenizer.all_special_tokens]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _made(
    path: Path,
    examples: Sequence[Example],
    tokenizer: Any,
    config: DataConfig,
    all_references: bool,
) -> Encoded:
    """Encode into the folder ``path``, which is complete or absent whenever the process is killed."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    remove(aside)
    aside.mkdir(parents=True)
    try:
        encoded = encode(examples, tokenizer, config, all_references=all_references, folder=aside)
        if encoded.classes is not None:
            (aside / "classes").write_bytes(encoded.classes.tobytes())
        columns = {"lengths": encoded.lengths}
        for name in (*_ARRAYS, *_OPTIONAL):
            array = getattr(encoded, name)
            if array is not None:
                columns[name] = array
        content = {"columns": described(aside, columns), "counts": encoded.counts}
        (aside / _CONTENT).write_text(json.dumps(content), encoding="utf-8")
        remove(path)  # a broken one; who has mapped its files keeps them
        aside.rename(path)
        keep_bound(path.parent)
    except BaseException:
        remove(aside)
        raise
    return encoded


def _load(path: Path) -> Encoded | None:
    """Map the columns in a folder; None if it is absent, or if a file in it is not as it was."""
    try:
        content = json.loads((path / _CONTENT).read_text(encoding="utf-8"))
        mark_used(path)
        return encoded_of(read(path, content["columns"]), content["counts"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
