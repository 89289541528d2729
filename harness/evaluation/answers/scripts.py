"""Scripts that are written without spaces, where single characters count as words."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Han with its extensions, kana, bopomofo; Thai, Lao, Myanmar and Khmer. Korean is written with spaces.
SPACELESS = (
    "\u3005-\u3007\u3021-\u3029\u3040-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003134f"
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
)
HANGUL = "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"
_SPACELESS = re.compile(f"[{SPACELESS}]")
_LETTER = re.compile(r"[^\W\d_]")
_LONE = re.compile(f"([{SPACELESS}{HANGUL}])")


def writes_without_spaces(references: Sequence[Sequence[str]]) -> bool:
    """Return True if most letters of the references belong to such a script. Answers are ignored."""
    text = "".join(text for texts in references for text in texts)
    return 2 * len(_SPACELESS.findall(text)) > len(_LETTER.findall(text))


def mostly_ascii(references: Sequence[Sequence[str]]) -> bool:
    """Return True if most letters of the references are a to z."""
    letters = _LETTER.findall("".join(text for texts in references for text in texts))
    return 2 * sum(letter.isascii() for letter in letters) >= len(letters)


def apart(text: str) -> str:
    """Return ``text`` with spaces around every Chinese, Japanese, Korean, Thai or similar character."""
    return _LONE.sub(r" \1 ", text)
