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

    title: str  # as a reader names it: 'BLEU'
    unit: str  # of the value in a record
    direction: Direction | None  # which way is better; None: not known
    # least and most that a score can be: no interval goes beyond
    span: tuple[float, float] = (-math.inf, math.inf)
    score: Callable[[Array], Array] = formulas.ratio  # of summed columns
    columns: Container[int] = (1,)  # how many a row of items.jsonl may have
    counted: bool = True  # a last column of ones is added: ``score`` divides by the examples
    shown_unit: str = ""  # behind a number in a report; '' where the title says it all
    decimals: int | None = None  # in a report; None: by the size of the number
    definition: str = ""  # one sentence for the report
    margin: float | None = (
        None  # so much worse is as good, in the value's unit; None: 2 % of the value
    )
    logarithmic: bool = False  # compared by its logarithm: a ratio means the same at every size
    scorer: str = ""  # of a metric that can be asked for: its module in harness.evaluation.answers
    blind_below: float | None = None  # where everybody scores less, the score tells nobody apart
