"""Measurement of a few steps of configurations by workers, before anything is spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from harness.compose.method_plan import MethodPlan
from harness.config import SweepConfig
from harness.launch.launcher import Launcher
from harness.records.footprint import Footprint, beside_each_other
from harness.search.planning.ask_worker import NoWorkerAnswered, ask
from harness.search.planning.needs import Values
from harness.search.sweep_folder import SweepFolder

KILLED = -9  # SIGKILL, which a machine without memory sends


class Measurer:
    """Lets workers measure a few steps of configurations, side by side where they do not disturb."""

    def __init__(self, sweep: SweepConfig, launcher: Launcher, folder: SweepFolder) -> None:
        self._sweep, self._launcher, self._folder = sweep, launcher, folder

    def __call__(self, asked: Sequence[tuple[MethodPlan, Values]]) -> list[Footprint] | None:
        """Return None if a worker exited during one of several: measure them one by one then.

        Neighbours, which often share a base, stay with one worker. An unexpected error of one
        configuration is its footprint's ``unmeasured``. Raises InputError.
        """
        settings = self._sweep.launcher
        configs = [asdict(plan.trial(values)) for plan, values in asked]
        parts = min(len(configs), self._launcher.measured_at_once)
        ends = [round(part * len(configs) / parts) for part in range(parts + 1)]
        tasks = {
            self._folder.path / f"measured-{part + 1}": {
                "kind": "footprints",
                "configs": configs[ends[part] : ends[part + 1]],
                "devices": settings.devices_per_trial,
            }
            for part in range(parts)
        }
        try:
            answers = ask(self._launcher, tasks, settings.retries if len(asked) == 1 else 0)
        except NoWorkerAnswered as error:
            if len(asked) > 1:
                return None
            nothing = Footprint("this machine", 0.0, 0, 0.0)
            if error.code != KILLED:
                return [replace(nothing, unmeasured=str(error))]
            why = (
                "its process was killed in the first steps, as where a machine's memory is used up"
            )
            return [replace(nothing, infeasible=why)]
        found = [Footprint(**values) for answer in answers for values in answer["footprints"]]
        return beside_each_other(found)
