"""Error rates of a sweep's variants in percent, as in Tables 6 and 7 of ULMFiT, arXiv:1801.06146.

    python -m bench.ulmfit_table runs/ulmfit_ablation-...

A row a variant, in the order of the sweep: the test error over its seeds, with the interval that the
report has; that of each seed; the best validation error of the search, which is what the paper prints.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.errors import InputError
from harness.reporting.evidence.candidate_set import candidate_set
from harness.reporting.evidence.candidates import Candidate
from harness.reporting.evidence.folders.run_folder import SweepRecords, load_run
from harness.reporting.formatting import MISSING, settings

HEAD = ("variant", "test error, %", "by seed", "best validation error, %", "chosen")


def rows(run: SweepRecords) -> list[tuple[str, ...]]:
    """One a variant, as text; what was not measured is '–'."""
    candidates = candidate_set(run)
    best: dict[str, Candidate] = {}
    for candidate in candidates.members:
        known = best.get(candidate.method)
        if known is None or error(candidate) < error(known):
            best[candidate.method] = candidate
    found = []
    for method in run.sweep.methods:
        candidate = best.get(method)
        estimate = None if candidate is None else candidate.estimates.get("test.accuracy")
        test = by_seed = MISSING
        if estimate is not None:
            test = f"{100 * (1 - estimate.value):.1f}"
            if estimate.low is not None and estimate.high is not None:
                low, high = 100 * (1 - estimate.high), 100 * (1 - estimate.low)
                test += f" [{low:.1f}, {high:.1f}]"
            by_seed = ", ".join(f"{100 * (1 - value):.1f}" for value in estimate.by_seed)
        chosen = MISSING if candidate is None else settings(candidate.settings)
        found.append((method, test, by_seed, validation_error(run, method), chosen))
    return found


def error(candidate: Candidate) -> float:
    return 1.0 if candidate.quality is None else 1 - candidate.quality.value


def validation_error(run: SweepRecords, method: str) -> str:
    """Return the lowest error of the method's search trials."""
    records = [row.record for row in run.rows if row.record.method == method]
    values = [r.value("validation.accuracy") for r in records if r.status == "complete"]
    known = [value for value in values if value is not None]
    return f"{100 * (1 - max(known)):.1f}" if known else MISSING


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    try:
        run = load_run(parser.parse_args().folder)
    except InputError as problem:
        raise SystemExit(str(problem)) from None
    lines = [HEAD, tuple("---" for _ in HEAD), *rows(run)]
    print("\n".join(f"| {' | '.join(line)} |" for line in lines))


if __name__ == "__main__":
    main()
