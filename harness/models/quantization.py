"""Storage format of a base's weights during training."""

from __future__ import annotations

from dataclasses import dataclass

CLASS_HEAD = "class_head"  # submodule that a classification task adds to the model


@dataclass(frozen=True)
class Quantization:
    """Storage format of quantized weights."""

    kind: str  # nf4, fp4 or int8
    double: bool  # the scales of 4-bit blocks are quantized too

    @classmethod
    def of(cls, kind: str, double: bool) -> Quantization:
        """Return the format. ``double`` is ignored for int8, which has row scales and no blocks."""
        return cls(kind, double and kind != "int8")
