"""Storage format of the base for each method, and a check that its weights suit NF4."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from harness.language import say, say_each
from harness.records import read_json
from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import CandidateSet
from harness.reporting.evidence.folders.run_folder import SweepRecords
from harness.reporting.evidence.ranking import ranked
from harness.reporting.table import Cell, Table

QUANTIZATIONS = ("nf4", "fp4", "int8")


def quantization_tables(run: SweepRecords, candidates: CandidateSet) -> list[tuple[str, Table]]:
    """Return the quantization tables; none if no method of the sweep had a quantized base."""
    tables = {
        say("How the base was stored"): _storage(candidates),
        say("The base's weights, before they were quantized"): _weights(run),
    }
    return [(title, table) for title, table in tables.items() if table.rows]


def _storage(candidates: CandidateSet) -> Table:
    headers = say_each("Method", "Stored in", "Computes in", "Bits a parameter", "in linear layers")
    headers += say_each("Whole base")
    rows: dict[str, tuple[Cell, ...]] = {}
    quantized = on_a_cpu = False
    for candidate in ranked(candidates):
        provenance = candidate.rows[0].record.provenance if candidate.rows else {}
        model = provenance.get("model") or {}
        if model.get("bits_per_parameter") is None:
            continue
        stored = model["quantization"]
        quantized |= stored != "none"
        on_a_cpu |= provenance.get("device") == "cpu"
        if stored == "none":
            stored = model["dtype"]
        elif model["double_quantization"]:
            stored += say(", constants quantized too")
        values = (
            f.number(model["bits_per_parameter"], 3),
            _linear_layers(model),
            f.file_size(model["base_bytes"]),
        )
        computes = model["compute_dtype"] or ("int8" if stored == "int8" else model["dtype"])
        words = (Cell(candidate.method, "method"), Cell(stored), Cell(computes))
        rows.setdefault(candidate.method, words + tuple(Cell(v, "number") for v in values))
    note = say(
        "Bits per parameter: the size of weights in memory, including their scales. "
        "Only linear layers are quantized, listed with their share of all weights. "
        "Embeddings, norms, the output layer and a mixture's experts are not."
    )
    if on_a_cpu:
        note += say(
            " Peak memory on a CPU is that of the whole process. With a small model most "
            "of it is Python and its libraries, so the saving by quantization is not "
            "visible."
        )
    return Table(headers, tuple(rows.values()) if quantized else (), note)


def _linear_layers(model: Mapping[str, Any]) -> str:
    """Describe the linear layers: '4.127, 81 % of the weights'. Old records have only these."""
    bits, share = model.get("bits_per_linear_weight"), model.get("linear_share")
    if bits is None or share is None:
        return f.MISSING
    return say(
        "{bits}, {percent:.0f} % of the weights",
        bits=f.number(bits, 3),
        percent=100 * share,
    )


def _weights(run: SweepRecords) -> Table:
    """Build a row for each kind of layer. Single layers are in ``base_weights.json`` of the trials."""
    found = (read_json(row.folder / "base_weights.json") for row in run.rows)
    layers: list[Mapping[str, Any]] = next((kept["layers"] for kept in found if kept), [])
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for layer in layers:
        kinds.setdefault(layer["name"].rpartition(".")[2], []).append(layer)
    headers = say_each("Layers", "Rows tested", "Not normal, at 5 %", "Skewness", "Excess kurtosis")
    headers += tuple(say("Error of {kind}", kind=kind) for kind in QUANTIZATIONS)
    rows = [_row(kind, of_kind) for kind, of_kind in kinds.items()]
    if len(rows) > 1:
        rows.append(_row("all", layers))
    note = say(
        "NF4's steps follow a normal distribution. A sample of rows, each the weights "
        "of one output, is tested by Shapiro-Wilk. It rejects 5 % of normal rows, and "
        "7.5 % of those of LLaMA 7B (arXiv:2305.14314). Skewness and excess kurtosis "
        "are 0 for normal rows. Error: relative root mean square of the rounding error "
        "of a weight. Means over layers."
    )
    return Table(headers, tuple(rows), note)


def _row(kind: str, layers: Sequence[Mapping[str, Any]]) -> tuple[Cell, ...]:
    def mean(name: str) -> float:
        return statistics.fmean(layer[name] for layer in layers)

    n = sum(layer["rows"] for layer in layers)
    rejected = sum(layer["rows"] * layer["rejected"] for layer in layers) / n
    values = [str(n), f"{100 * rejected:.1f} %"]
    values += [f.number(mean("skewness"), 2), f.number(mean("excess_kurtosis"), 2)]
    for name in QUANTIZATIONS:
        values.append(f"{100 * statistics.fmean(layer['error'][name] for layer in layers):.2f} %")
    return (Cell(f"{kind}, {len(layers)}"), *(Cell(value, "number") for value in values))
