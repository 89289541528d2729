"""Time, energy and price of a sweep, as the measured steps foretell them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.compose.method_plan import MethodPlan
from harness.config import SweepConfig
from harness.search.method_budget import search_budget
from harness.search.planning.needs import MethodMemory
from harness.search.screen.progress import Planned, duration


def planned_trials(
    sweep: SweepConfig, plans: Sequence[MethodPlan], needs: Mapping[str, MethodMemory]
) -> dict[str, Planned]:
    """Return each method's trials and the seconds of one; none of a method that does not fit."""
    found = {}
    for plan in plans:
        method = needs[plan.method]
        seconds = method.measured[0].footprint.trial_seconds if _is_timed(method) else None
        search = 0 if method.none_fits else search_budget(plan, sweep)
        confirm = 0 if method.none_fits else confirm_trials(sweep)
        found[plan.method] = Planned(search, confirm, seconds)
    return found


def unmeasured(needs: Mapping[str, MethodMemory]) -> list[str]:
    """Return a sentence for each method whose steps ended in an error; its trials are run anyway."""
    return [
        f"{method}: its cost is not known, as a measured step failed: {errors[0]}"
        for method, each in needs.items()
        if (errors := [m.footprint.unmeasured for m in each.measured if m.footprint.unmeasured])
    ]


def expected_cost(
    sweep: SweepConfig, plans: Sequence[MethodPlan], needs: Mapping[str, MethodMemory], workers: int
) -> list[tuple[str, str]]:
    """Return (label, text) of time, energy and price, from each method as configured."""
    seconds = training = joules = 0.0
    without = [plan.method for plan in plans if not _is_timed(needs[plan.method])]
    devices = sweep.launcher.devices_per_trial
    for plan in plans:
        method = needs[plan.method]
        if plan.method in without:
            continue
        found = method.measured[0].footprint
        n = 0 if method.none_fits else search_budget(plan, sweep) + confirm_trials(sweep)
        seconds += n * found.trial_seconds
        training += n * found.step_seconds * found.total_steps
        if found.watts is None:
            joules = float("nan")
        joules += n * found.trial_seconds * devices * (found.watts or 0.0)
    if len(without) == len(plans):
        return []
    hours = seconds * devices / 3600
    lines = [
        (
            "time",
            f"about {duration(training / max(1, workers))} of training and at most "
            f"{duration((seconds - training) / max(1, workers))} of evaluation with {workers} "
            f"worker{'s' if workers != 1 else ''}, {hours:.2g} device-hours, at the speed of these "
            "steps",
        )
    ]
    found = [one for plan in plans for one in needs[plan.method].measured]
    fitting = [one.footprint for one in found if one.too_large is None and one.footprint.needed_gb]
    most = min((int(each.available_gb // each.needed_gb) for each in fitting), default=0)
    if most > 1 and fitting[0].device != "cpu":  # there cores are the scarce resource
        lines.append(
            ("room", f"for {most} workers on each device, by these steps (launcher.workers)")
        )
    if joules == joules:  # every method's device reported energy
        lines.append(
            ("energy", f"about {joules / 3.6e6:.2g} kWh at the power of the measured steps")
        )
    price = sweep.launcher.price_per_hour
    if price is not None:
        lines.append(("price", f"about {hours * price:.2f} at {price:g} a device-hour"))
    return lines


def _is_timed(method: MethodMemory) -> bool:
    """Return True if the configured values of a method were measured."""
    return bool(method.measured) and method.measured[0].footprint.unmeasured is None


def confirm_trials(sweep: SweepConfig) -> int:
    """Return the number of confirmation trials of one method; no more finalists than trials."""
    return min(sweep.confirm.finalists, sweep.search.trials) * sweep.confirm.seeds
