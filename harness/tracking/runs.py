"""W&B runs. The only module that imports wandb, in the mirror's own process."""

from __future__ import annotations

import re
import shutil
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import wandb

from harness.tracking.contents import SAMPLE_COLUMNS, Heading

INIT_SECONDS = 20.0
WRITE_SECONDS = 5.0
FREE_BYTES = 32 * 2**20  # required, because wandb loses rows silently on a full disk


class WandbRuns:
    """Opens runs in ``folder/wandb``: online until the server fails, then offline."""

    def __init__(
        self, folder: Path, project: str, entity: str | None, group: str, online: bool
    ) -> None:
        """Create ``folder/wandb``. Raises OSError if it cannot be written."""
        self.online = online
        self.warnings: list[str] = []
        self._has_been_online = False
        self._folder, self._project, self._entity, self._group = folder, project, entity, group
        (folder / "wandb" / "data").mkdir(parents=True, exist_ok=True)

    def open(self, heading: Heading) -> Run:
        """Open a run. Raises OSError on a full disk, and wandb's own errors when offline."""
        free = shutil.disk_usage(self._folder).free
        if free < FREE_BYTES:
            raise OSError(f"{free / 2**20:.0f} MiB are free on the disk")
        if self.online:
            try:
                run = Run(self._init(heading, "online"))
                self._has_been_online = True
                return run
            except Exception as error:  # any error: trials are mirrored offline instead
                self.online = False
                if not self._has_been_online:
                    wandb.teardown()  # otherwise wandb keeps the id of the run that failed
                self.warnings.append(f"offline from {heading.name} on ({_first_line(error)})")
        remove_unsynced(self._folder, heading.id)
        return Run(self._init(heading, "offline"))

    def _init(self, heading: Heading, mode: Literal["online", "offline"]) -> Any:
        return wandb.init(
            entity=self._entity,
            project=self._project,
            group=self._group,
            job_type=heading.job_type,
            tags=heading.tags,
            id=heading.id,
            name=heading.name,
            config=heading.config,
            resume="allow",
            reinit="create_new",  # several may be open at once
            settings=wandb.Settings(
                mode=mode,
                root_dir=str(self._folder),
                init_timeout=INIT_SECONDS,
                silent=True,
                console="off",
                symlink=False,
                disable_git=True,
                disable_code=True,
                disable_job_creation=True,
                save_code=False,
                host="",
                program="",
                x_disable_meta=True,
                x_disable_machine_info=True,
                x_disable_stats=True,
                x_save_requirements=False,
                x_transaction_log_flush_interval=1,  # a killed mirror loses a second, not fifteen
            ),
        )


class Run:
    """One open run. Steps are logged once, in order."""

    def __init__(self, run: Any) -> None:
        self._run = run
        # The server already holds the earlier steps of a run that is resumed online.
        self._logged = run.step - 1 if run.resumed else -1
        # The summary comes from the record; the last point of a curve uses fewer examples.
        run.define_metric("*", summary="none")

    @property
    def file(self) -> Path:
        """The file that an offline run is uploaded from."""
        return Path(self._run.settings.sync_file)

    @property
    def url(self) -> str | None:
        return None if self._run.offline else self._run.url

    def log(self, points: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Log points. Steps that were logged before are skipped."""
        for step, values in points:
            if step > self._logged:
                self._run.log(dict(values), step=step)
                self._logged = step

    def table(self, name: str, rows: Sequence[Sequence[str]]) -> None:
        if rows:
            table = wandb.Table(columns=list(SAMPLE_COLUMNS), data=[list(row) for row in rows])
            self._run.log({name: table}, step=max(self._logged, 0))

    def artifact(self, name: str, files: Iterable[Path]) -> None:
        artifact = wandb.Artifact(name, type="report")
        for file in files:
            artifact.add_file(str(file))
        self._run.log_artifact(artifact)

    def finish(self, summary: Mapping[str, Any] | None = None, failed: bool = False) -> None:
        """Finish the run. Raises OSError if it was not completely written."""
        for name, value in (summary or {}).items():
            self._run.summary[name] = value
        file = self.file
        self._run.finish(exit_code=1 if failed else 0)
        until = time.monotonic() + WRITE_SECONDS
        while not ends_with_exit(file):  # it is closed a moment after finish() returns
            if time.monotonic() > until:
                raise OSError(f"{file.name} is cut off: is the disk full?")
            time.sleep(0.02)


def run_folders(folder: Path, run_id: str) -> list[Path]:
    """Return the offline folders of the run with this id."""
    pattern = re.compile(r"offline-run-\d{8}_\d{6}-" + re.escape(run_id))
    found = (folder / "wandb").glob(f"offline-run-*-{run_id}")
    return sorted(path for path in found if pattern.fullmatch(path.name))


def remove_unsynced(folder: Path, run_id: str) -> None:
    """Delete partial offline runs of a killed mirror, so that they are not uploaded later."""
    for path in run_folders(folder, run_id):
        if not list(path.glob("*.synced")):
            shutil.rmtree(path, ignore_errors=True)


def ends_with_exit(file: Path) -> bool:
    """Return whether the last record of a .wandb file marks the run's end."""
    from wandb.proto import wandb_internal_pb2

    *_, last = b"", *raw_records(file)
    record = wandb_internal_pb2.Record()
    try:
        record.ParseFromString(last)
    except Exception:  # protobuf's DecodeError for corrupt bytes
        return False
    return record.WhichOneof("record_type") == "exit"


def raw_records(file: Path) -> Iterator[bytes]:
    """Yield the complete records of a .wandb file, in LevelDB's log format.

    A partial last record is left out. The file has a header of 7 bytes, then blocks of 32 KiB
    counted from its start. Blocks hold chunks: crc (4 bytes), length (2), kind (1: whole, 2: first,
    3: middle, 4: last), content.
    """
    data, position, parts = file.read_bytes(), 7, b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        content = data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind not in (1, 2, 3, 4) or len(content) < length:
            return
        parts = content if kind in (1, 2) else parts + content
        if kind in (1, 4):
            yield parts


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
