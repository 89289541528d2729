"""Display of the record of a trial by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.trials.by_hand.show_record import show


@pytest.mark.parametrize("written", [{"hint": "The model has a [chat] template."}, {}, None])
def test_a_hint_on_how_prompts_are_written_is_shown(capsys, written):
    empty: dict[str, Any] = {key: {} for key in ("measurements", "base", "missing", "afterwards")}
    record = SimpleNamespace(
        **empty,
        method="lora", seed=0, status="complete", reason=None, cost={},
        provenance={"written": written},
    )  # fmt: skip
    show(record, Path("runs/x"))
    said = capsys.readouterr().out
    assert ("Note: The model has a [chat] template." in said) == bool(written)
