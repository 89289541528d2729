"""Analysis of the update of each weight matrix: size, rank and directions."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.afterwards import geometry
from harness.records import Measurement, Outcome, write_json
from harness.statistics.measurements.definitions import unit_of

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT = 1
FILE = "update.json"
HOW = {
    "singular_values": (
        f"the {geometry.KEPT} largest; randomized, and no ranks, where the smaller side of the matrix "
        f"is above {geometry.EXACT_SIDE}"
    ),
    "rank": "singular values of ΔW larger than those that rounding to its dtype can cause",
    "amplification": f"in the directions counted in its rank, at most {geometry.KEPT}",
    "overlap": f"φ of the top {geometry.TOP_K} right singular vectors of ΔW and of W",
    "intruders": (
        f"among the top {geometry.TOP_K} left singular vectors of W + ΔW: those with every |cos| to "
        f"one of W's below {geometry.EPSILON:g}"
    ),
}


def update_analysis(
    folder: Path,
    model: nn.Module,
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    device: str,
) -> Outcome:
    """Analyse every changed 2-D weight of ``model`` and write one row each to ``update.json``.

    The outcome holds sums and medians over them.
    """
    rows = list(_rows(model, before, after, device))
    moved = total = 0.0
    others = 0
    for name, weight in after.items():
        old, new = before[name].float(), weight.float()
        total += float(old.square().sum())
        moved += float((new - old).square().sum())
        others += weight.ndim != 2 and not old.equal(new)
    share = (moved / total) ** 0.5
    write_json(
        folder / FILE,
        {
            "format": FORMAT,
            "how": HOW,
            "relative_norm": share,
            "other_tensors_changed": others,
            "matrices": rows,
        },
    )
    return Outcome(_summary(rows, share, len(after)), None, None)


def _summary(rows: list[dict[str, Any]], share: float, n: int) -> dict[str, Measurement]:
    def measured(name: str, value: float, n: int, how: str) -> None:
        name = f"update.{name}"
        found[name] = Measurement(value, unit_of(name), n, None, how)

    found: dict[str, Measurement] = {}
    measured("relative_norm", share, n, "‖θ₁ − θ₀‖/‖θ₀‖ over all parameters")
    for name in ("effective_rank", "stable_rank", "amplification", "overlap"):
        values = [row[name] for row in rows if row[name] is not None]
        if values:
            how = "median over changed matrices"
            measured(name, statistics.median(values), len(values), how)
    counted = [row["intruders"] for row in rows if row["intruders"] is not None]
    if counted:
        how = f"arXiv:2410.21228|top_k:{geometry.TOP_K}|epsilon:{geometry.EPSILON:g}"
        measured("intruders", float(sum(counted)), len(counted), how)
    return found


def _rows(
    model: nn.Module, before: Mapping[str, Tensor], after: Mapping[str, Tensor], device: str
) -> Iterator[dict[str, Any]]:
    for name, weight in after.items():
        old, new = before[name].to(device, weight.dtype), weight.to(device)
        if weight.ndim == 2 and not old.equal(new):
            if _input_first(model, name):
                old, new = old.T, new.T
            layer, kind = place(name)
            yield {"name": name, "layer": layer, "kind": kind, **describe(old, new)}


def _input_first(model: nn.Module, name: str) -> bool:
    """Return whether a weight has the shape (in, out), as GPT-2's do; all others are (out, in)."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(model.get_submodule(name.rpartition(".")[0]), Conv1D)


def place(name: str) -> tuple[int | None, str]:
    """Split 'model.layers.3.mlp.up_proj.weight' -> (3, 'mlp.up_proj'); no layer: (None, last part)."""
    stem = name.removesuffix(".weight")
    numbered = re.search(r"\.(\d+)\.(.+)$", stem)
    if numbered is None:
        return None, stem.rpartition(".")[2]
    return int(numbered[1]), numbered[2]


def describe(old: Tensor, new: Tensor) -> dict[str, Any]:
    """Return numbers that describe the change of one matrix (out, in); None where undefined."""
    g = geometry
    whole = g.svd(new.float() - old.float())
    base, tuned = (g.svd(weight).above(g.rounding(weight)) for weight in (old, new))
    update = whole.above(g.rounding(new))
    rank = len(update.values)
    top = min(g.TOP_K, rank, len(base.values))
    leading = tuned.first(g.TOP_K).left
    ranked, counted = rank > 0 and update.exact, len(base.values) > 0 and base.exact
    return {
        "shape": list(old.shape),
        "base_norm": base.norm,
        "norm": whole.norm,
        "drift": whole.norm / base.norm if base.norm > 0 else None,
        "exact": whole.exact,
        "rank": rank if whole.exact else None,
        "stable_rank": g.stable_rank(update.values) if ranked else None,
        "effective_rank": g.effective_rank(update.values) if ranked else None,
        "amplification": g.amplification(old, update.first(g.KEPT)) if rank else None,
        "overlap": g.subspace_similarity(update.right, base.right, top, top) if top else None,
        "intruders": g.intruders(base.left, leading) if counted else None,
        "leading": leading.shape[1] if counted else None,
        "singular_values": [float(f"{v:.6g}") for v in update.values[: g.KEPT].tolist()],
    }
