"""Text lengths: the longest that a model accepts, and the longest that it was made for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from harness.config import ModelConfig
from harness.errors import InputError
from harness.models.load import load_skeleton

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

# What architectures call the module or buffer that has a row for each position.
_TABLE = re.compile(r"(^|\.)(wpe|(embed_)?positions?(_embed(ding)?s?)?|pos(ition)?_emb\w*)$")


@dataclass(frozen=True)
class Positions:
    """In tokens; None where there is no such limit."""

    rows: (
        int | None
    )  # of learned or tabulated positions: a longer text has none for its last tokens
    made_for: int | None  # what the configuration names

    def check(self, longest: int) -> None:
        """Raise InputError if a text of ``longest`` tokens has more than the model has rows for."""
        if self.rows is not None and longest > self.rows:
            raise InputError(
                f"The longest text has {longest} tokens (what is generated included), and this model "
                f"has {self.rows} positions, which were learned one by one: it cannot take a longer "
                f"one. Lower data.max_length, so that it and evaluation.max_new_tokens are at most "
                f"{self.rows} together."
            )

    def caution(self, longest: int) -> str | None:
        """Return a caution for texts that are accepted but longer than the model was made for."""
        if self.made_for is None or longest <= self.made_for:
            return None
        return (
            f"the longest text has {longest} tokens, and the model was made for {self.made_for} "
            "(max_position_embeddings): beyond them its answers may be worse than its method's worth; "
            "data.max_length shortens texts"
        )


@lru_cache(maxsize=8)
def positions_of(config: ModelConfig) -> Positions:
    """Raise InputError if the model cannot be loaded."""
    return positions(load_skeleton(config))


def positions(model: nn.Module) -> Positions:
    """Return the positions of ``model``, which may be a skeleton."""
    config = getattr(model, "config", None)
    text: Any = None if config is None else config.get_text_config()
    made_for = getattr(text, "max_position_embeddings", None)
    rows = min(_tables(model), default=None)
    if rows is not None and isinstance(made_for, int):
        rows = min(rows, made_for)  # OPT keeps two rows for padding
    if getattr(text, "model_type", None) == "mpt":  # biases by distance, in a table of this size
        rows = made_for = text.max_seq_len
    return Positions(rows, made_for if isinstance(made_for, int) else None)


def _tables(model: nn.Module) -> Iterator[int]:
    """Rows of each table of positions that text is looked up in."""
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
