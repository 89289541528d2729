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

OWNER = "storage.json"  # in a sweep's folder: its id in the database


def open_storage(sweep: SweepConfig, folder: Path, methods: Sequence[str] = ()) -> Any:
    """Open the database at the configured URL, else an SQLite file in the sweep's folder.

    A corrupt SQLite file is moved aside. Raises InputError if studies of ``methods`` in the
    database belong to another folder.
    """
    if sweep.search.storage is not None:
        storage = open_url(sweep.search.storage)
        for method in methods:
            _claim(storage, sweep, method, folder)
        return storage
    path = folder / "study.db"
    try:
        storage = _own_file(path)
    except Exception as error:  # SQLAlchemy raises many types for a corrupt file
        if is_disk_full(error):
            raise  # the file is intact
        kept = path.with_name("study.db.unreadable")
        path.replace(kept)
        print(f"{path} is corrupt; it is kept as {kept.name} and rebuilt from the records")
        storage = _own_file(path)
    return storage


def study_name(sweep: SweepConfig, method: str) -> str:
    return f"{sweep.name}/{method}"


def _claim(storage: Any, sweep: SweepConfig, method: str, folder: Path) -> None:
    """Store the id of the owning folder in the study, so that two sweeps never share it."""
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
    storage.engine.dispose()  # closes the connection opened before that
    with storage.engine.connect() as connection:
        found = connection.exec_driver_sql("pragma quick_check(1)").scalar()
    if found != "ok":
        raise ValueError(found)
    storage.get_all_studies()
    return storage
