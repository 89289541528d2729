"""Reader of a runs folder: sweep settings, records, items and curves as plain values."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import yaml

from harness.errors import InputError
from harness.language import retold, say
from harness.records import Record, read_json, read_jsonl, read_record
from harness.records.curve_rows import on_the_same_texts
from harness.records.footprint import Footprint
from harness.records.plan_file import read_plan
from harness.reporting.evidence.race_file import Race, read_race
from harness.statistics.measurements.definitions import METRIC_DEFINITIONS, Direction, kind_of
from harness.statistics.measurements.names import (
    FORGETTING_KL,
    FORGETTING_NLL,
    TEST,
    VALIDATION,
    VALIDATION_ACCURACY,
    VALIDATION_BLEU,
    VALIDATION_CHRF,
    VALIDATION_PERPLEXITY,
)
from harness.statistics.scores import Array


@dataclass(frozen=True)
class SweepSettings:
    """Settings of a sweep. Entries missing from sweep.yaml are None or empty."""

    name: str
    command: str | None = None
    seed: int = 0
    methods: tuple[str, ...] = ()
    objectives: tuple[tuple[str, str], ...] = ()  # (measurement, maximize | minimize)
    limits: Mapping[str, float] = field(default_factory=dict)
    search: Mapping[str, Any] = field(default_factory=dict)
    confirm: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    created: str | None = None
    model: str | None = None
    data: str | None = None


@dataclass(frozen=True)
class FinishedTrial:
    """One finished trial and where its files lie."""

    record: Record
    folder: Path

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The configuration as it ran, by dotted key, see ``settings_of``."""
        return settings_of(self.record)


@dataclass(frozen=True)
class SweepRecords:
    """A runs folder: the sweep, its finished trials, and remarks on unusual files."""

    sweep: SweepSettings
    rows: tuple[FinishedTrial, ...]
    unfinished: int  # trial folders without a record: still running, or stopped
    remarks: tuple[str, ...] = ()
    footprints: Mapping[str, Footprint] = field(default_factory=dict)  # by method, as configured
    race: Race = field(default_factory=Race)  # rounds of confirm seeds, of a sweep on a budget


def load_run(folder: Path) -> SweepRecords:
    """Raise InputError if the folder is not one of a sweep."""
    if not folder.is_dir():
        raise InputError(f"No folder {folder}. Give the folder of a sweep, such as runs/NAME.")
    if not (folder / "sweep.yaml").exists() and not (folder / "trials").is_dir():
        raise InputError(
            f"{folder} has neither sweep.yaml nor trials/. Give the folder of a sweep, "
            "such as runs/NAME."
        )
    remarks: list[str] = []
    rows: list[FinishedTrial] = []
    unfinished = 0
    for trial in sorted((folder / "trials").glob("*/*")):
        if not trial.is_dir():
            continue
        record = read_record(trial)
        if record is None:
            unfinished += 1
        else:
            rows.append(FinishedTrial(record, trial))
    sweep = _read_sweep(folder, rows, remarks)
    stops = read_json(folder / "stopped.json")
    for method, stop in (stops if isinstance(stops, dict) else {}).items():
        remarks.append(
            say(
                "The search of {method} ended after {trials} trials: {reason}.",
                method=method,
                trials=stop["trials"],
                reason=retold(str(stop["reason"])),
            )
        )
    order = {method: i for i, method in enumerate(sweep.methods)}
    rows.sort(
        key=lambda row: (
            order.get(row.record.method, len(order)),
            row.record.method,
            row.record.stage,
            row.record.trial,
            row.record.seed,
            row.record.fingerprint,
        )
    )
    footprints, left_out = read_plan(folder)
    remarks += [
        say(
            "Left out, because it breaks a limit or does not fit into memory: {words}.",
            words=retold(words),
        )
        for words in left_out
    ]
    return SweepRecords(
        sweep, tuple(rows), unfinished, tuple(remarks), footprints, read_race(folder)
    )


def language_of(folder: Path) -> str:
    """Return the language that a sweep's reports are written in, as configured; English by default."""
    report = _described(folder).get("report")
    return str(report.get("language", "en")) if isinstance(report, dict) else "en"


def _described(folder: Path) -> dict[str, Any]:
    """Return sweep.yaml; {} if it is missing or unreadable."""
    try:
        data = yaml.safe_load((folder / "sweep.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        data = None
    return data if isinstance(data, dict) else {}


def _read_sweep(folder: Path, rows: list[FinishedTrial], remarks: list[str]) -> SweepSettings:
    """Read sweep.yaml as far as possible; the records fill in methods and objectives."""
    name = folder.resolve().name
    try:
        data = yaml.safe_load((folder / "sweep.yaml").read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        data = {}
        remarks.append(
            say("sweep.yaml is missing; objectives and limits are taken from the records.")
        )
    except (yaml.YAMLError, UnicodeDecodeError):
        data = {}
        remarks.append(say("sweep.yaml cannot be read; objectives and limits are unknown."))
    if not isinstance(data, dict):
        data = {}

    def mapping(key: str) -> dict[str, Any]:
        value = data.get(key)
        return {str(k): v for k, v in value.items()} if isinstance(value, dict) else {}

    def text(key: str) -> str | None:
        return None if data.get(key) is None else str(data[key])

    methods = [str(method) for method in data.get("methods") or []]
    methods += sorted({row.record.method for row in rows} - set(methods))
    objectives = tuple(
        (measured, "minimize" if direction == "minimize" else "maximize")
        for measured, direction in mapping("objectives").items()
    )
    return SweepSettings(
        name=text("name") or name,
        command=text("command"),
        seed=data["seed"] if isinstance(data.get("seed"), int) else 0,
        methods=tuple(methods),
        objectives=objectives or guessed_objectives(rows),
        limits={k: float(v) for k, v in mapping("limits").items() if isinstance(v, int | float)},
        search=mapping("search"),
        confirm=mapping("confirm"),
        report=mapping("report"),
        created=text("created"),
        model=text("model"),
        data=text("data"),
    )


def default_direction(measurement: str) -> Direction | None:
    """Return the better direction of its kind; None if unknown, as for another library's metric."""
    kind = METRIC_DEFINITIONS.get(kind_of(measurement))
    return None if kind is None else kind.direction


def guessed_objectives(rows: list[FinishedTrial]) -> tuple[tuple[str, str], ...]:
    """Return (measurement, direction) of quality and forgetting, as far as the trials have them.

    Of finalists alone the test split is measured: its name is that of the validation split too.
    """
    names = {name for row in rows for name in row.record.measurements}
    measured = sorted({name.replace(TEST, VALIDATION, 1) for name in names})
    ways = {name: way for name in measured if (way := default_direction(name)) is not None}
    known = (VALIDATION_BLEU, VALIDATION_CHRF, VALIDATION_ACCURACY, VALIDATION_PERPLEXITY)
    others = [name for name in ways if name.startswith(VALIDATION)]
    quality = [name for name in known if name in ways] or others
    forgetting = [name for name in (FORGETTING_KL, FORGETTING_NLL) if name in ways]
    return tuple((name, ways[name]) for name in quality[:1] + forgetting[:1])


def read_base_items(folder: Path) -> dict[str, Array]:
    """Read the per-example statistics of the untouched base, see ``read_items``."""
    return _read_items(folder / "base_items.jsonl")


def read_items(folder: Path, only: Collection[str] = ()) -> dict[str, Array]:
    """Read measurement → (n, k) per-example statistics; unreadable rows are left out.

    With ``only``, other measurements are skipped unread, which takes a fraction of the time.

    A row with a domain becomes ``measurement.domain``. If no row covers a whole measurement, its
    domains are concatenated in file order.
    """
    return _read_items(folder / "items.jsonl", only)


def _read_items(path: Path, only: Collection[str] = ()) -> dict[str, Array]:
    whole: dict[str, Array] = {}
    parts: dict[str, list[Array]] = {}
    for row in read_jsonl(path, [f'"{name}"' for name in only]):
        if not isinstance(row, dict) or "measurement" not in row:
            continue
        try:
            statistics = np.asarray(row["statistics"], dtype=np.float64)
        except (KeyError, TypeError, ValueError):
            continue
        if statistics.ndim != 2 or not np.isfinite(statistics).all():
            continue
        name, domain = str(row["measurement"]), row.get("domain")
        if isinstance(domain, list):  # one domain an example
            whole[name] = statistics
            labels = np.array([str(d) for d in domain])
            if len(labels) == len(statistics):
                for label in dict.fromkeys(labels.tolist()):
                    whole[f"{name}.{label}"] = statistics[labels == label]
        elif domain is None or name.endswith(f".{domain}"):
            whole[name] = statistics
        else:
            whole[f"{name}.{domain}"] = statistics
            parts.setdefault(name, []).append(statistics)
    for name, arrays in parts.items():
        if name not in whole and len({a.shape[1] for a in arrays}) == 1:
            whole[name] = np.concatenate(arrays)
    return whole


def read_curves(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Read series → [(step, value)]: 'loss' from training rows, measurements from evaluations."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in on_the_same_texts(read_jsonl(folder / "metrics.jsonl")):
        step = row.get("step") if isinstance(row, dict) else None
        if not _is_number(step):
            continue
        values = row.get("measurements") if row.get("kind") == "evaluation" else None
        if row.get("kind") == "train":
            values = {"loss": row.get("loss")}
        for name, value in values.items() if isinstance(values, dict) else ():
            if _is_number(value):
                curves.setdefault(str(name), []).append((float(step), float(value)))
    return curves


def read_predictions(folder: Path) -> list[dict[str, Any]]:
    """Read rows with split, prompt, references, output and perhaps base; others are skipped."""
    return [
        row
        for row in read_jsonl(folder / "predictions.jsonl")
        if isinstance(row, dict) and "prompt" in row and "output" in row
    ]


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested keys: {'method': {'r': 8}} becomes {'method.r': 8}."""
    values: dict[str, Any] = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        values.update(flat(value, f"{path}.") if isinstance(value, Mapping) else {path: value})
    return values


def settings_of(record: Record) -> dict[str, Any]:
    """Return the configuration as it ran, by dotted key, with values derived by ``method.match``."""
    return flat(record.config) | derived(record)


def derived(record: Record) -> dict[str, Any]:
    """Return the keys that ``method.match`` set, with their values on this model."""
    return flat(record.provenance.get("derived") or {}, "method.")


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
