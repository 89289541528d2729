"""Cache of encoded examples on disk, keyed by a hash of everything they were made from."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import DataConfig
from harness.data.rows.chat_template import template_of
from harness.data.rows.example import Example, fingerprint_examples
from harness.data.tokens.encode import Encoded, encode
from harness.data.tokens.special_tokens import begins_with

_FORM = 2  # increase it when `encode` changes the sequences of an input
_OPTIONAL = ("classes", "label_mask", "segments")
_ARRAYS = tuple(f.name for f in fields(Encoded) if f.name not in ("counts", *_OPTIONAL))


def cached_encode(
    folder: Path,
    examples: Sequence[Example],
    tokenizer: Any,
    config: DataConfig,
    *,
    all_references: bool,
) -> Encoded:
    """Return the result of `encode`, from ``folder`` if an earlier call had the same input."""
    key = [
        _FORM,
        fingerprint_examples(examples),
        tokenizer_fingerprint(tokenizer),
        [config.loss_on, config.max_length, config.too_long, config.is_plain_text],
        [config.packing, config.truncate],
        [example.template for example in examples],
        [template_of(tokenizer, config), config.template_arguments, config.only_last_answer]
        if config.is_chat
        else None,
        all_references,
    ]
    path = folder / (hashlib.sha256(json.dumps(key).encode()).hexdigest() + ".npz")
    found = _load(path)
    if found is None:
        found = encode(examples, tokenizer, config, all_references=all_references)
        _save(path, found)
    return found


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


def _save(path: Path, encoded: Encoded) -> None:
    """Write to a temporary file and rename. No fsync: a truncated file is detected and redone."""
    buffer = io.BytesIO()
    arrays = {name: getattr(encoded, name) for name in (*_ARRAYS, *_OPTIONAL)}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    np.savez(buffer, counts=np.array(json.dumps(encoded.counts)), **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    aside.write_bytes(buffer.getbuffer())
    aside.replace(path)


def _load(path: Path) -> Encoded | None:
    """Load a file; None if it is absent or corrupt. Zip files have a checksum of every array."""
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in _ARRAYS}
            arrays |= {name: data.get(name) for name in _OPTIONAL}
            return Encoded(**arrays, counts=json.loads(str(data["counts"])))
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None
