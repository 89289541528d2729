"""Memory of a measured step of each method, by purpose."""

from __future__ import annotations

from collections.abc import Mapping

from harness.language import phrase, say, say_each
from harness.records.footprint import Footprint
from harness.reporting import formatting as f
from harness.reporting.table import Cell, Table

# The four parts, with colours that no method has.
PARTS = {
    "weights_gb": (phrase("weights"), "#3b4c63"),
    "gradients_gb": (phrase("gradients"), "#7f93ad"),
    "optimizer_gb": (phrase("optimizer"), "#b9c6d6"),
    "activations_gb": (phrase("activations"), "#d9a441"),
}


def memory_table(footprints: Mapping[str, Footprint]) -> Table:
    """Build one row for each method."""
    headers = (
        say("Method"),
        *(say(words).capitalize() for words, _ in PARTS.values()),
        say("Together"),
    )
    headers += say_each("Micro-batch", "Training step")
    rows = []
    for method, found in footprints.items():
        if not found.micro_batch_size:
            continue
        parts = [getattr(found, part) for part in PARTS]
        values = [f.file_size(1e9 * part) for part in [*parts, sum(parts)]]
        values += [str(found.micro_batch_size), f"{found.step_seconds:.2g} s"]
        rows.append((Cell(method, "method"), *(Cell(value, "number") for value in values)))
    note = say(
        "Each method as configured, measured before the search: tensors at the peak of "
        "a step with the longest sequences. Activations include everything temporary. "
        "The process on a CPU, or the context of a GPU, is additional. The table above "
        "has the peak of whole trials."
    )
    return Table(headers, tuple(rows), note)
