"""Soak test of a sweep: workers are killed at random all the time, the driver several times.

    python -m bench.soak [--trials 200] [--workers 2] [--every 20] [--driver-kills 5] [--folder DIR]

The same small sweep runs twice, once undisturbed. Processes are killed by SIGKILL, so none can clean
up. Whenever the driver was killed, the same command is started again. In the end every trial must have
ended exactly once, with bit for bit the values of the undisturbed sweep. Nothing may be left behind: no
process, no shared memory, no half-written file, no checkpoint. Prints the figures and exits with code 1
if any of this fails.

Proposals are drawn at random (``search.sampler=random``), so that both sweeps run the same trials. With
several workers, TPE's proposals depend on the order in which trials end.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from harness.launch.forking import NAME as FORKED
from harness.records import Record, read_jsonl, read_record

ROOT = Path(__file__).parent.parent
NAME = "soak"
SHARED = Path("/dev/shm")
# What Python's and torch's processes, and NCCL, name there; others on the machine have their own.
SHARED_NAMES = ("sem.*", "psm_*", "wnsm_*", "torch_*", "__KMP*", "nccl-*")
OWN_CACHE = "torchinductor_*"  # torch's own folder, which it makes when it is imported
SMALL = (
    *("tracking=none", "launcher.threads=1", "method=lora", f"name={NAME}", "training.max_steps=5"),
    *(
        "data.train_limit=12",
        "data.validation_limit=4",
        "data.test_limit=4",
        "data.general_limit=2",
    ),
    *(
        "evaluation.task_folder=null",
        "evaluation.max_new_tokens=4",
        "evaluation.watched_examples=2",
    ),
    *("evaluation.bootstrap_resamples=100", "training.warmup_steps=0", "search.sampler=random"),
    *("training.checkpoint_every=1", "confirm.finalists=1", "confirm.seeds=2"),
    "training.learning_rate=tag(log,interval(1e-4,1e-2))",
)


@dataclass
class Shots:
    """Processes that were killed, and how the driver ended each time."""

    workers: int = 0
    drivers: int = 0
    codes: list[int] = field(default_factory=list)  # of each driver
    seconds: float = 0.0


def command(options: argparse.Namespace) -> list[str]:
    # Every kill counts as an attempt, and here kills are intended: no trial may be given up.
    own = [f"search.trials={options.trials}", f"launcher.workers={options.workers}"]
    own += ["launcher.retries=1000", f"seed={options.seed}"]
    return [sys.executable, "-m", "harness.sweep", *SMALL, *own]


def start(options: argparse.Namespace, folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tmp").mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "tmp")}
    with (folder / "out.log").open("ab") as out:
        return subprocess.Popen(
            command(options), cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT
        )


def workers_in(folder: Path) -> list[psutil.Process]:
    """Worker processes of the harness in ``folder``, whatever their parent is now."""
    found = []
    for process in psutil.process_iter():
        try:
            is_worker = (
                process.name() == FORKED.decode() or "harness.launch.worker" in process.cmdline()
            )
            if is_worker and process.cwd() == str(folder):
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]


def done_in(folder: Path) -> int:
    return len(list(folder.glob(f"runs/{NAME}/trials/*/*/record.json")))


def shoot(options: argparse.Namespace, folder: Path) -> Shots:
    """Run the sweep to its end while its processes are killed."""
    chance, shots, began = random.Random(options.seed), Shots(), time.monotonic()
    parts = options.driver_kills + 1
    at = [options.trials * (n + 1) // parts for n in range(options.driver_kills)]
    driver = start(options, folder)
    following = time.monotonic() + options.every
    while True:
        time.sleep(0.05)
        if driver.poll() is not None:
            shots.codes.append(driver.returncode)
            if driver.returncode >= 0:
                break
            driver = start(options, folder)
        elif shots.drivers < len(at) and done_in(folder) >= at[shots.drivers]:
            driver.kill()
            driver.wait()
            shots.drivers += 1
        elif time.monotonic() > following:
            following = time.monotonic() + chance.uniform(0.2, 1.8) * options.every
            running = workers_in(folder)
            if running:
                chance.choice(running).kill()
                shots.workers += 1
    shots.seconds = time.monotonic() - began
    return shots


def records_in(folder: Path) -> list[Record]:
    found = [read_record(path.parent) for path in folder.glob("runs/*/trials/*/*/record.json")]
    return [record for record in found if record is not None]


def faults(options: argparse.Namespace, quiet: Path, folder: Path, shared: set[str]) -> list[str]:
    """Return the violations of what must hold after the sweep."""
    found = []
    expected = {record.fingerprint: record for record in records_in(quiet)}
    records = records_in(folder)
    numbers = Counter((record.stage, record.trial) for record in records)
    wanted = {("search", n) for n in range(options.trials)} | {("confirm", 0), ("confirm", 1)}
    if set(numbers) != wanted or max(numbers.values()) > 1:
        found.append(f"trials that are missing or twice: {set(numbers) ^ wanted}")
    found += [f"{r.fingerprint}: {r.status}, {r.reason}" for r in records if r.status != "complete"]
    alien = [record for record in records if record.fingerprint not in expected]
    found += [f"{record.fingerprint}: not in the undisturbed sweep" for record in alien]
    for record in records:
        other = expected.get(record.fingerprint)
        if other is not None and record.measurements != other.measurements:
            found.append(f"{record.fingerprint}: other values than undisturbed")
        trial = folder / "runs" / NAME / "trials" / record.method / record.fingerprint
        rows = read_jsonl(trial / "metrics.jsonl")
        steps = [row["step"] for row in rows if row["kind"] == "train"]
        if steps != [1, 2, 3, 4, 5]:
            found.append(f"{record.fingerprint}: steps {steps}")
    found += told(options, folder)
    found += left_behind(folder, shared)
    if not (folder / "reports" / NAME / "report.json").exists():
        found.append("no report")
    return found


def told(options: argparse.Namespace, folder: Path) -> list[str]:
    """Check the sampler's study: all requested trials exist and have ended."""
    import optuna

    url = f"sqlite:///{folder}/runs/{NAME}/study.db"
    (study,) = optuna.get_all_study_summaries(url)
    trials = optuna.load_study(study_name=study.study_name, storage=url).trials
    states = Counter(trial.state.name for trial in trials)
    return [] if states == {"COMPLETE": options.trials} else [f"the study has {dict(states)}"]


def left_behind(folder: Path, shared: set[str]) -> list[str]:
    until = time.monotonic() + 20
    while workers_in(folder) and time.monotonic() < until:
        time.sleep(0.2)
    left = [f"process {process.pid}" for process in workers_in(folder)]
    left += [f"/dev/shm/{name}" for name in sorted(in_shared() - shared)]
    left += [str(path) for path in folder.rglob(".*.tmp")]
    left += [str(path) for path in folder.glob("runs/*/trials/*/*/checkpoint*")]
    temporary = [path for path in (folder / "tmp").iterdir() if not path.match(OWN_CACHE)]
    left += [str(path) for path in temporary]
    return [f"left behind: {what}" for what in left]


def in_shared() -> set[str]:
    return {path.name for pattern in SHARED_NAMES for path in SHARED.glob(pattern)}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, default in (("trials", 200), ("workers", 2), ("driver-kills", 5), ("seed", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--every", type=float, default=20.0, help="seconds between kills, mean")
    parser.add_argument("--folder", type=Path, default=None, help="where both sweeps are kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        folder = (options.folder or Path(scratch)).resolve()
        quiet, shot_at = folder / "undisturbed", folder / "shot-at"
        began = time.monotonic()
        code = start(options, quiet).wait()
        quiet_seconds = time.monotonic() - began
        shared = in_shared()
        shots = shoot(options, shot_at)
        found = faults(options, quiet, shot_at, shared)
        if code or shots.codes[-1]:
            found.append(f"exit codes {code} undisturbed, {shots.codes[-1]} shot at")
            print((shot_at / "out.log").read_text()[-3000:])
        attempts = Counter(record.attempt for record in records_in(shot_at))
        done, same = records_in(shot_at), {record.fingerprint for record in records_in(quiet)}
        print(f"undisturbed: {len(same)} trials in {quiet_seconds:.0f} s")
        print(
            f"shot at: {len(done)} trials in {shots.seconds:.0f} s, {shots.workers} workers and "
            f"{shots.drivers} drivers killed"
        )
        print("attempts: " + ", ".join(f"{n} trials took {k}" for k, n in sorted(attempts.items())))
        print(f"in both sweeps: {sum(record.fingerprint in same for record in done)} trials")
    print("\n".join(found) or "every trial once, all values equal to the bit, nothing left behind")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
