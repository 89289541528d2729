"""Optuna storage in an external database: opened by URL, with retries while it is unreachable."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage, get_storage

from harness.config.database_url import whole
from harness.errors import InputError, Resumable

PATIENCE_SECONDS = (
    3600.0  # longest wait for a database that was reachable; stated in conf/config.yaml
)
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds between attempts


def open_url(shown: str) -> BaseStorage:
    """Open the storage whose masked URL is ``shown``. Raises InputError if it cannot be used."""
    url = _with_driver(whole(shown))
    try:
        if url.startswith("sqlite"):
            return RDBStorage(url)
        storage = RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        return PatientStorage(get_storage(storage), shown)  # pyright: ignore[reportAbstractUsage]
    except Exception as error:  # SQLAlchemy and database drivers raise many types
        why = next((line for line in str(error).splitlines() if line), type(error).__name__)
        why = why.replace(url, shown).replace(whole(shown), shown)
        raise InputError(f"search.storage={shown!r} cannot be used: {why}") from None


def _with_driver(url: str) -> str:
    """Select psycopg for PostgreSQL URLs. Raises InputError if it is not installed."""
    scheme, mark, rest = url.partition("://")
    if not mark or scheme not in ("postgres", "postgresql", "postgresql+psycopg"):
        return url
    if find_spec("psycopg") is None:
        raise InputError(
            "search.storage: PostgreSQL needs the package psycopg: "
            "pip install 'finetune-harness[postgres]'"
        )
    return f"postgresql+psycopg://{rest}"


def is_away(error: BaseException) -> bool:
    """Return whether the database was unreachable. Any other error would recur on a retry."""
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    lost = isinstance(cause, DBAPIError) and cause.connection_invalidated
    return lost or isinstance(cause, OperationalError | InterfaceError)


def _patient(name: str) -> Callable[..., Any]:
    def call(self: PatientStorage, *args: Any, **kwargs: Any) -> Any:
        return self._wait(name, *args, **kwargs)

    return call


class PatientStorage(BaseStorage):
    """A storage that retries every call while the database is unreachable.

    Running trials continue meanwhile, because their records are files. A write may have arrived
    before the connection broke. A trial is still neither created nor finished twice, since the
    driver is the only writer. Raises Resumable after PATIENCE_SECONDS.
    """

    def __init__(
        self, storage: BaseStorage, shown: str, say: Callable[[str], None] = print
    ) -> None:
        self._storage, self._shown, self._say = storage, shown, say

    def _wait(self, name: str, *args: Any, **kwargs: Any) -> Any:
        call, pause, began = getattr(self._storage, name), FIRST_PAUSE, None
        before = self._trials(args, kwargs) if name == "create_new_trial" else []
        while True:
            try:
                if began is not None and name == "create_new_trial":
                    made = [t for t in self._trials(args, kwargs) if t not in before]
                    if made:
                        answer = made[-1]
                        break
                answer = call(*args, **kwargs)
                break
            except UpdateFinishedTrialError:
                if began is None:
                    raise
                answer = True  # the earlier write had arrived
                break
            except Exception as error:
                if not is_away(error):
                    raise
                if began is None:
                    began = time.monotonic()
                    self._say(
                        f"{time.strftime('%H:%M:%S')}  The database {self._shown} does not answer. "
                        "Running trials continue; the sweep waits for it, at most "
                        f"{PATIENCE_SECONDS / 60:g} minutes, and then continues."
                    )
                if time.monotonic() - began > PATIENCE_SECONDS:
                    raise Resumable(
                        f"The database {self._shown} has not answered for "
                        f"{PATIENCE_SECONDS / 60:g} minutes. Nothing that was finished is lost: "
                        "the same command resumes the sweep once it does."
                    ) from None
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        if began is not None:
            waited = time.monotonic() - began
            self._say(
                f"{time.strftime('%H:%M:%S')}  The database answers again after {waited:.0f} s."
            )
        return answer

    def _trials(self, args: Any, kwargs: Any) -> list[int]:
        """Return the ids of a study's trials, with retries."""
        study = kwargs.get("study_id", args[0] if args else None)
        return [trial._trial_id for trial in self._wait("get_all_trials", study, deepcopy=False)]


# All abstract methods, and one lookup whose default would read all trials.
for _name in {*BaseStorage.__abstractmethods__, "get_trial_id_from_study_id_trial_number"}:
    setattr(PatientStorage, _name, _patient(_name))
PatientStorage.__abstractmethods__ = frozenset()
