"""Checks of the places that results are written to: the study's file and tracking."""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.doctor.finding import OK, WARN, Line, Setup, existing, version_of
from harness.paths import user_path


def check_storage(setup: Setup) -> Iterator[Line]:
    wanted = user_path(setup.sweep.runs_dir)
    with tempfile.TemporaryDirectory(dir=existing(wanted), prefix=".doctor-") as folder:
        database = sqlite3.connect(Path(folder) / "study.db")
        with database:
            database.execute("create table trial (number integer)")
            database.execute("insert into trial values (1)")
        database.close()
    yield Line("storage", OK, f"an SQLite file can be written in runs_dir={wanted}")
    url = setup.sweep.search.storage
    if url is not None:
        shown = re.sub(r"//[^@/]*@", "//***@", url)
        yield Line("storage", WARN, f"search.storage={shown} is not tried here")


def check_tracking(setup: Setup) -> Iterator[Line]:
    from harness.tracking import account

    tracking = setup.sweep.tracking
    if tracking.name == "none":
        yield Line("tracking", OK, "none")
        return
    if not account.is_installed():
        yield Line("tracking", WARN, "wandb is not installed: nothing is mirrored (tracking=none)")
        return
    key = "a key is set" if account.has_key() else "no key is set"
    fact = f"wandb {version_of('wandb')}, {tracking.mode}, {key}"
    why = account.why_not_online() if tracking.mode == "online" else None
    yield Line(
        "tracking", WARN if why else OK, f"{fact}; runs stay offline: {why}" if why else fact
    )
