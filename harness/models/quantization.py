"""Storage of the base's weights while a method trains beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


CLASS_HEAD = "class_head"  # the submodule that a classification task puts on an adapted model


@dataclass(frozen=True)
class Quantization:
    """Storage format of the base's weights while a method trains beside them."""

    kind: str  # nf4, fp4 or int8
    double: bool  # the constants of 4-bit blocks are quantized too

    @classmethod
    def of(cls, kind: str, double: bool) -> Quantization:
        """int8 has a scale a row and no blocks: the same base whether ``double`` or not."""
        return cls(kind, double and kind != "int8")
