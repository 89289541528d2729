"""Resolution of ``lora_alpha``, given as a number or as a multiple of the rank."""

from __future__ import annotations

import re

from harness.config.strict import require

_MULTIPLE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)?\s*\*?\s*r")


def resolve_alpha(alpha: float | str, r: int) -> float:
    """Return α for rank ``r``. ``2r``, ``r`` and ``0.5r`` are multiples of the rank.

    The update is scaled by α/r. With ``2r`` the scale is 2 at every rank, so a sweep over ranks
    varies only the rank. Raises InputError for other text and for values that are not above 0.
    """
    accepted = "a number above 0, or a multiple of the rank such as 2r, r or 0.5r"
    if isinstance(alpha, str):
        match = _MULTIPLE.fullmatch(alpha.strip())
        require(match is not None, "method.lora_alpha", alpha, accepted)
        assert match is not None
        value = float(match.group(1) or 1) * r
        require(value > 0, "method.lora_alpha", alpha, accepted)
        return value
    require(alpha > 0, "method.lora_alpha", alpha, accepted)
    return float(alpha)
