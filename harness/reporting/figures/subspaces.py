"""Figure of subspace similarity between adapters of different rank, as in LoRA's Figure 3."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from harness.language import say
from harness.reporting.evidence.candidates import CandidateSet
from harness.reporting.evidence.families import family
from harness.reporting.evidence.folders.run_folder import flat
from harness.reporting.figures.style import Picture, panels, svg
from harness.statistics.scores import Array

FILE = "adapter_model.safetensors"
LARGEST_BYTES = 200_000_000  # of an adapter that a report reads
PANELS = 3  # modules of the middle layer
SHOWN = 32  # directions along the larger rank


def subspace_figure(candidates: CandidateSet) -> Picture | None:
    """Draw φ(i, j) between a middle and the largest rank of one method, in the middle layer."""
    pair = _pair(candidates)
    if pair is None:
        return None
    (small, a), (large, b) = pair
    shared = [name for name in a if name in b]
    layers = sorted({layer for name in shared if (layer := _layer(name)) is not None})
    if not layers:
        return None
    middle = layers[len(layers) // 2]
    modules = [name for name in shared if _layer(name) == middle]
    queries = [m for m in modules if re.search(r"\.(q|query|v|value|up|fc1)\w*$", m)]
    modules = (queries or modules)[:PANELS]
    figure, axes_list = panels(len(modules), 10.9, 2.9)
    for axes, module in zip(axes_list, modules, strict=True):
        grid = similarities(a[module], b[module])[:, :SHOWN]
        mesh = axes.pcolormesh(grid, cmap="Blues", vmin=0, vmax=1)
        axes.set_title(module.split(f".{middle}.")[-1], fontsize=9)
        axes.set_xlabel(say("j, of {large}", large=large))
        for axis, length in ((axes.xaxis, grid.shape[1]), (axes.yaxis, grid.shape[0])):
            places, labels = _ticks(length)
            axis.set_ticks(places, labels)
        axes.grid(visible=False)
        figure.colorbar(mesh, ax=axes, pad=0.02, aspect=20).outline.set_visible(False)
    axes_list[0].set_ylabel(say("i, of {small}", small=small))
    alt = say(
        "Subspace similarity between {small} and {large} in layer {middle}.",
        small=small,
        large=large,
        middle=middle,
    )
    caption = say(
        "φ(i, j) of A's right singular vectors (LoRA, Eq. 4) in layer {middle}, first "
        "seeds: 1 where the first i directions of {small} lie within the first j of "
        "{large}; about j over the width by chance. Directions that both share are the "
        "ones a small rank is enough for.",
        middle=middle,
        small=small,
        large=large,
    )
    return Picture(
        "subspaces", say("The same directions?"), svg(figure, "subspaces", alt), alt, caption
    )


def similarities(a: Array, b: Array) -> Array:
    """Return φ(i, j) = ‖AᵢᵀBⱼ‖²_F / min(i, j) of two (r, d) factors (arXiv:2106.09685, Eq. 4)."""
    first, second = (
        np.linalg.svd(factor.astype(np.float64), full_matrices=False)[2] for factor in (a, b)
    )
    shared = np.cumsum(np.cumsum((first @ second.T) ** 2, axis=0), axis=1)
    i, j = np.arange(1, len(first) + 1), np.arange(1, len(second) + 1)
    return shared / np.minimum.outer(i, j)


def _pair(
    candidates: CandidateSet,
) -> tuple[tuple[str, dict[str, Array]], tuple[str, dict[str, Array]]] | None:
    """Return adapters of middle and of largest rank from one family, if both can be read."""
    families: dict[str, list[tuple[float, str, Path]]] = {}
    for candidate in candidates.members:
        for row in candidate.rows:
            rank = flat(row.record.config).get("method.r")
            path = row.folder / "adapter" / FILE
            if isinstance(rank, int) and path.is_file() and path.stat().st_size < LARGEST_BYTES:
                of = families.setdefault(family(row.record), [])
                of.append((rank, candidate.label, path))
    for found in families.values():
        found.sort(key=lambda item: item[:2])
        (low, label, path), (high, other, other_path) = found[(len(found) - 1) // 2], found[-1]
        if low < high:
            factors = _factors(path), _factors(other_path)
            if all(factors):
                return (label, factors[0]), (other, factors[1])
    return None


def _factors(path: Path) -> dict[str, Array]:
    """Read module → A (r, d); {} if the file has none, or none that numpy can read."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError, TypeError, KeyError, ValueError):  # torn, or bfloat16
        return {}
    ends = ".lora_A.weight"
    return {name.removesuffix(ends): t for name, t in tensors.items() if name.endswith(ends)}


def _layer(name: str) -> int | None:
    found = re.search(r"\.(\d+)\.", name)
    return None if found is None else int(found.group(1))


def _ticks(n: int) -> tuple[list[float], list[str]]:
    """Return ticks for about five of the numbers 1 to n, in the middle of their cells."""
    shown = sorted({1, *range(max(1, n // 4), n + 1, max(1, n // 4))})
    return [i - 0.5 for i in shown], [str(i) for i in shown]
