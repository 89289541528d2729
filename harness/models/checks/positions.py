"""Limits on the length of texts: position table and context length of a model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from harness.config import ModelConfig
from harness.errors import InputError
from harness.language import recorded
from harness.models.loading.skeleton import load_skeleton

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

# Names that architectures give the module or buffer with one row for each position.
_TABLE = re.compile(r"(^|\.)(wpe|(embed_)?positions?(_embed(ding)?s?)?|pos(ition)?_emb\w*)$")


@dataclass(frozen=True)
class Positions:
    """Limits of a model in tokens; None without one."""

    rows: int | None  # rows of the position table, a hard limit
    made_for: int | None  # context length in the model's configuration

    def check(self, longest: int) -> None:
        """Raise InputError if a text of ``longest`` tokens exceeds the position table."""
        if self.rows is not None and longest > self.rows:
            raise InputError(
                f"The longest text has {longest} tokens (with generated ones), but this model has "
                "only "
                f"{self.rows} learned positions and cannot read a longer text. Lower "
                "data.max_length, "
                f"so that it and evaluation.max_new_tokens are at most {self.rows} together."
            )

    def caution(self, longest: int) -> str | None:
        """Return a warning if a text of ``longest`` tokens exceeds the context length, else None."""
        if self.made_for is None or longest <= self.made_for:
            return None
        return recorded(
            "the longest text has {longest} tokens, and the model was made for {made_for} "
            "(max_position_embeddings): on longer texts its answers may be worse, whatever the method; "
            "data.max_length shortens texts",
            longest=longest,
            made_for=self.made_for,
        )


@lru_cache(maxsize=8)
def positions_of(config: ModelConfig) -> Positions:
    """Return the positions of a configured model. Raises InputError if it cannot be loaded."""
    return positions(load_skeleton(config))


def positions(model: nn.Module) -> Positions:
    """Return the positions of ``model``, which may be a skeleton."""
    config = getattr(model, "config", None)
    text: Any = None if config is None else config.get_text_config()
    made_for = getattr(text, "max_position_embeddings", None)
    rows = min(_tables(model), default=None)
    if rows is not None and isinstance(made_for, int):
        rows = min(rows, made_for)  # OPT has two more rows, for padding
    if getattr(text, "model_type", None) == "mpt":  # its table of attention biases has this size
        rows = made_for = text.max_seq_len
    return Positions(rows, made_for if isinstance(made_for, int) else None)


def _tables(model: nn.Module) -> Iterator[int]:
    """Yield the number of rows of each position table for text."""
    from torch import nn

    embeddings = getattr(model, "get_input_embeddings", lambda: None)()
    for name, module in model.named_modules():
        if not isinstance(module, nn.Embedding) or module is embeddings:
            continue
        if _TABLE.search(name) and "vision" not in name:
            yield int(module.weight.shape[0])
    for name, buffer in model.named_buffers():
        if _TABLE.search(name) and buffer.ndim == 2 and "vision" not in name:
            yield buffer.shape[0]
