"""Where Optuna keeps the studies of a sweep: one SQLite file, or a database by URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import sqlalchemy

from harness.config import SweepConfig
from harness.records.full import is_disk_full
from harness.search.database import open_url


def open_storage(sweep: SweepConfig, folder: Any) -> Any:
    """The URL as configured, else one SQLite file in the sweep's folder; a torn one is set aside."""
    if sweep.search.storage is not None:
        return open_url(sweep.search.storage)
    path = folder / "study.db"
    try:
        storage = _own_file(path)
    except Exception as error:  # whatever SQLAlchemy raises for a file that is no database any more
        if is_disk_full(error):
            raise  # the file is good
        kept = path.with_name("study.db.unreadable")
        path.replace(kept)
        print(f"{path} is not readable; kept as {kept.name}, made again from the records")
        storage = _own_file(path)
    return storage


def _own_file(path: Path) -> Any:
    """The SQLite file of a sweep. It waits for no disk: after a power cut the records make it anew."""
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
