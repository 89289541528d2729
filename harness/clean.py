"""Free disk space: ``python -m harness.clean runs/NAME`` or ``runs``; ``plan=true`` only shows what.

Deletes checkpoints of finished trials, and partial files of killed processes. Keeps records,
curves, outputs, adapters, and checkpoints of trials that can still resume. For ``runs`` as a whole
it also deletes cache files (tokens, base measurements, stages before the task) that were not used
for ``cache_days=30``, and the oldest beyond a bound. All of them can be computed again.
"""

from __future__ import annotations

import fcntl
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.arguments import command_arguments
from harness.errors import InputError, refused_paths, unknown
from harness.paths import user_path
from harness.records.disk_usage import (
    CACHE_PARTS,
    MOST_GB,
    beyond_bound,
    gigabytes,
    last_used,
    partial_files,
    remove,
    scratch_of,
    size_of,
)

USAGE = "python -m harness.clean runs/NAME|runs [plan=true] [cache_days=30]"
HELP = f"""\
Free disk space that finished trials no longer need.

  {USAGE}

Deletes checkpoints of trials that have ended, and files that a killed process left half written. Keeps
records, curves, outputs, adapters, and checkpoints of trials that can still resume. For runs as a
whole, also deletes files of the cache that were not used for cache_days days (30), and the oldest where
they are too many (5 GB of the base's measurements, 10 GB of tokens, 40 GB of stages before the task).
All of them can be made again. plan=true prints what would be deleted and deletes nothing.

exit codes: 0 done, 2 wrong input"""
CACHE_DAYS = 30.0
DAY = 86400.0


@dataclass(frozen=True)
class Options:
    """Command-line options."""

    folder: Path
    plan: bool = False
    cache_days: float = CACHE_DAYS


@dataclass(frozen=True)
class Freed:
    """Files to delete together, with the reason."""

    what: str
    paths: tuple[Path, ...]

    @property
    def bytes(self) -> int:
        return sum(size_of(path) for path in self.paths)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 done, 2 invalid input."""
    arguments = command_arguments(arguments)
    if {"-h", "--help"} & set(arguments):
        print(HELP)
        return 0
    try:
        with refused_paths():
            run(typed(arguments))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def run(options: Options) -> None:
    sweeps = sweeps_in(options.folder)
    total = 0
    for sweep in sweeps:
        with held(sweep) as owner:
            if owner is not None:
                if sweep == options.folder:
                    raise InputError(f"{sweep} is in use by {owner}. Wait until it has ended.")
                print(f"{sweep} is in use by {owner} and was left unchanged")
                continue
            total += _free(of_sweep(sweep), options.plan)
    if sweeps != [options.folder] or (options.folder / ".cache").is_dir():
        total += _free(of_cache(options.folder / ".cache", options.cache_days), options.plan)
    left = size_of(options.folder)
    if options.plan:
        print(f"{gigabytes(total)} of {gigabytes(left)} would be freed. Nothing was deleted.")
    else:
        print(f"{gigabytes(total)} freed; {options.folder} has {gigabytes(left)} left.")
    kept = size_of(options.folder / ".cache") if options.cache_days > 0 else 0
    if kept and not (options.plan and total >= kept):
        print(
            f"{options.folder / '.cache'}: {gigabytes(kept)} of what can be made again. cache_days=0 "
            "frees all of it that no trial is using."
        )


def _free(freed: Sequence[Freed], plan: bool) -> int:
    total = 0
    for some in freed:
        total += some.bytes
        print(f"{some.what}: {len(some.paths)}, {gigabytes(some.bytes)}")
        for path in () if plan else some.paths:
            remove(path)
    return total


def sweeps_in(folder: Path) -> list[Path]:
    """Return ``folder`` itself, or the sweeps directly below it. Raises InputError without any."""
    if (folder / "trials").is_dir():
        return [folder]
    found = sorted(path.parent for path in folder.glob("*/trials") if path.is_dir())
    if not found and not any((folder / ".cache" / part).is_dir() for part in CACHE_PARTS):
        raise InputError(f"{str(folder)!r} is neither a sweep nor a folder of sweeps: {USAGE}")
    return [path for path in found if not path.is_symlink()]


@contextmanager
def held(sweep: Path) -> Iterator[str | None]:
    """Lock the sweep as a driver would; otherwise return the name of the lock's owner."""
    path = sweep / "lock"
    if not path.exists():  # a folder of trials run by hand, each by its own process
        yield None
        return
    with path.open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield lock.read().strip() or "another process"
            return
        yield None


def of_sweep(sweep: Path) -> list[Freed]:
    """Return the files of an inactive sweep that may be deleted."""
    ended, halves = [], []
    for trial in sorted(path for path in sweep.glob("trials/*/*") if path.is_dir()):
        if (trial / "record.json").is_file():
            ended += [*scratch_of(trial), *partial_files(trial)]
        elif (sweep / "lock").exists():  # without a lock a trial may be running
            halves += partial_files(trial)
            halves += sorted(trial.glob("checkpoint*/.step-*.tmp"))
    if (sweep / "lock").exists():
        halves += partial_files(sweep)
    parts = [
        Freed(f"{sweep}: left by trials that have ended", tuple(ended)),
        Freed(f"{sweep}: half-written files", tuple(halves)),
    ]
    return [part for part in parts if part.paths]


def of_cache(cache: Path, days: float) -> list[Freed]:
    """Return entries of the cache not used for ``days`` days, and the oldest of too many.

    An entry is a file, or a folder whose files were made together and are of use together.
    """
    now, parts = time.time(), []
    for folder in (cache / part for part in CACHE_PARTS if (cache / part).is_dir()):
        old = []
        for path in sorted({*folder.iterdir(), *folder.rglob(".*.tmp")}):
            age = (now - last_used(path)) / DAY
            half_written = path.name.startswith(".") and path.suffix == ".tmp"
            if age > (min(days, 1.0) if half_written else days):
                old.append(path)
        if old:
            parts.append(Freed(f"{folder}: not used for {days:g} days", tuple(old)))
        beyond = [path for path in beyond_bound(folder) if path not in old]
        if beyond:
            parts.append(Freed(f"{folder}: beyond {MOST_GB[folder.name]:g} GB", tuple(beyond)))
    return parts


def typed(arguments: Sequence[str]) -> Options:
    """Parse the command line. Raises InputError for unknown or invalid arguments."""
    paths: list[Path] = []
    plan, days = False, CACHE_DAYS
    for text in arguments:
        key, equals, value = text.partition("=")
        if text == "--dry-run" or (key, value) == ("plan", "true"):
            plan = True
        elif (key, value) == ("plan", "false"):
            plan = False
        elif key == "cache_days" and equals:
            try:
                days = float(value)
            except ValueError:
                days = -1.0
            if not 0 <= days < float("inf"):
                raise InputError(f"cache_days={value!r} cannot be used: it must be 0 or more.")
        elif equals or text.startswith("-"):
            raise unknown("option", text, ["plan=true", "cache_days=30", "--dry-run"])
        else:
            paths.append(user_path(text))
    if len(paths) != 1:
        raise InputError(f"One folder to clean is needed: {USAGE}")
    if not paths[0].is_dir():
        what = "a file, and a folder is needed" if paths[0].exists() else "no such folder"
        raise InputError(f"{str(paths[0])!r} cannot be cleaned: {what}.")
    return Options(paths[0], plan, days)


if __name__ == "__main__":
    sys.exit(main())
