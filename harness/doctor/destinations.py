"""Checks of the places that results are written to: the folder of runs and tracking."""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.doctor.finding import OK, WARN, Finding, Setup, existing, version_of
from harness.paths import user_path


def check_storage(setup: Setup) -> Iterator[Finding]:
    """Check that an SQLite database can be written in ``runs_dir``."""
    runs_dir = user_path(setup.sweep.runs_dir)
    with tempfile.TemporaryDirectory(dir=existing(runs_dir), prefix=".doctor-") as folder:
        database = sqlite3.connect(Path(folder) / "study.db")
        with database:
            database.execute("create table trial (number integer)")
            database.execute("insert into trial values (1)")
        database.close()
    yield Finding("storage", OK, f"an SQLite file can be written in runs_dir={runs_dir}")
    url = setup.sweep.search.storage
    if url is not None:
        redacted_url = re.sub(r"//[^@/]*@", "//***@", url)
        yield Finding("storage", WARN, f"search.storage={redacted_url} is not tried here")


def check_tracking(setup: Setup) -> Iterator[Finding]:
    """Check that W&B is installed and can be used as configured. Uploads nothing."""
    from harness.tracking import wandb_account

    tracking = setup.sweep.tracking
    if tracking.name == "none":
        yield Finding("tracking", OK, "none")
        return
    if not wandb_account.is_installed():
        yield Finding(
            "tracking", WARN, "wandb is not installed: nothing is mirrored (tracking=none)"
        )
        return
    key = "a key is set" if wandb_account.has_key() else "no key is set"
    fact = f"wandb {version_of('wandb')}, {tracking.mode}, {key}"
    reason = wandb_account.why_not_online() if tracking.mode == "online" else None
    yield Finding(
        "tracking",
        WARN if reason else OK,
        f"{fact}; runs stay offline: {reason}" if reason else fact,
    )
