"""Storage of a sweep's Optuna studies: one SQLite file, or a database by URL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
import sqlalchemy

from harness.config import SweepConfig
from harness.errors import InputError
from harness.records import read_json, write_json
from harness.records.disk_full import is_disk_full
from harness.search.optuna_studies.database import open_url

OWNER = "storage.json"  # in a sweep's folder: the id under which a database knows it


def open_storage(sweep: SweepConfig, folder: Path, methods: Sequence[str] = ()) -> Any:
    """Open the configured URL, else an SQLite file in the sweep's folder; a torn file is set aside.

    Raises InputError if studies of ``methods`` in it belong to another folder.
    """
    if sweep.search.storage is not None:
        storage = open_url(sweep.search.storage)
        for method in methods:
            _claim(storage, sweep, method, folder)
        return storage
    path = folder / "study.db"
    try:
        storage = _own_file(path)
    except Exception as error:  # any error of SQLAlchemy for a corrupt file
        if is_disk_full(error):
            raise  # the file is intact
        kept = path.with_name("study.db.unreadable")
        path.replace(kept)
        print(f"{path} is not readable; kept as {kept.name}, made again from the records")
        storage = _own_file(path)
    return storage


def study_name(sweep: SweepConfig, method: str) -> str:
    return f"{sweep.name}/{method}"


def _claim(storage: Any, sweep: SweepConfig, method: str, folder: Path) -> None:
    """Write the owning folder into the study, so that two sweeps of one name never share it."""
    known = read_json(folder / OWNER)
    if known is None:
        known = {"id": uuid4().hex}
        write_json(folder / OWNER, known)
    name = study_name(sweep, method)
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=list(sweep.objectives.values()),
        load_if_exists=True,
    )
    owner = study.user_attrs.get("owner")
    if owner not in (None, known["id"]) and study.get_trials(deepcopy=False):
        raise InputError(
            f"search.storage={sweep.search.storage!r} holds a study {name!r} already, and it is not "
            f"that of {folder}: another sweep has this name, or its folder was removed. Give this "
            "one another name=, or delete the study there."
        )
    study.set_user_attr("owner", known["id"])


def _own_file(path: Path) -> Any:
    """Open the SQLite file of a sweep without disk syncs; records rebuild it after a power cut."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")

    def relax(connection: Any, record: Any) -> None:
        connection.execute("pragma synchronous=off")

    sqlalchemy.event.listen(storage.engine, "connect", relax)
    storage.engine.dispose()  # the connection that was opened before that
    with storage.engine.connect() as connection:
        found = connection.exec_driver_sql("pragma quick_check(1)").scalar()
    if found != "ok":
        raise ValueError(found)
    storage.get_all_studies()
    return storage
