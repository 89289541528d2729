"""Definition of a kind of measurement: formula, columns, unit, direction and wording."""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Literal

from harness.statistics.measurements import formulas
from harness.statistics.measurements.formulas import Array

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class MetricDefinition:
    """Definition of a kind of measurement. The default is the mean of one column over examples."""

    title: str  # name in a report: 'BLEU'
    unit: str  # of the value in a record
    direction: Direction | None  # the better direction; None if unknown
    span: tuple[float, float] = (-math.inf, math.inf)  # range of the score; bounds its intervals
    score: Callable[[Array], Array] = formulas.ratio  # of summed columns
    columns: Container[int] = (1,)  # allowed numbers of columns in items.jsonl
    counted: bool = True  # adds a last column of ones, because ``score`` divides by the examples
    shown_unit: str = ""  # after a number in a report; '' if the title is enough
    decimals: int | None = None  # in a report; None: by the size of the number
    definition: str = ""  # one sentence for the report
    margin: float | None = (
        None  # non-inferiority margin in the value's unit; None: 2 % of the value
    )
    logarithmic: bool = False  # compared by its logarithm, so that ratios count
    scorer: str = ""  # module in harness.evaluation.answers, for metrics that users can configure
    blind_below: float | None = (
        None  # if all candidates score less, the score carries no information
    )
