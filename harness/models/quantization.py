"""Storage format of the base's weights during training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


CLASS_HEAD = "class_head"  # submodule that a classification task adds to an adapted model


@dataclass(frozen=True)
class Quantization:
    """Storage format of the base's weights during training."""

    kind: str  # nf4, fp4 or int8
    double: bool  # quantize the constants of 4-bit blocks too

    @classmethod
    def of(cls, kind: str, double: bool) -> Quantization:
        """Return the format. int8 has a scale for each row and no blocks, so it ignores ``double``."""
        return cls(kind, double and kind != "int8")
