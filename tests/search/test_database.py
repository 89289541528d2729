"""Studies in PostgreSQL: a real server, stopped and started while a sweep runs."""

from __future__ import annotations

import glob
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import optuna
import pytest
from sweeping import SMALL, FakeLauncher, InProcessLauncher, composed, drive

from harness.config.database_url import hide_secrets, whole
from harness.errors import InputError, Resumable
from harness.search.optuna_studies import database
from harness.search.optuna_studies.database import PatientStorage, open_url

PASSWORD = "gr8secret-Xyzzy"
DOWN_SECONDS = float(os.environ.get("HARNESS_DOWN_SECONDS", "3"))  # more, by hand: as in the LOG
ARGUMENTS = ("method=lora", "method.r=choice(2,4,8,16)", "confirm.finalists=0", "name=s")


class Server:
    """One PostgreSQL of its own, on loopback, in a temporary folder, as an unprivileged user."""

    def __init__(self) -> None:
        self._bin = Path(next(iter(sorted(glob.glob("/usr/lib/postgresql/*/bin"))), ""))
        self.folder = tempfile.mkdtemp(prefix="pg-")
        self._as: dict[str, str] = {}
        if os.getuid() == 0:
            self._as = {"user": "nobody"}
            os.chown(self.folder, pwd.getpwnam("nobody").pw_uid, -1)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        secret = Path(self.folder, "secret")
        secret.write_text(PASSWORD)
        options = ["-U", "me", "--pwfile", str(secret), "--auth=scram-sha-256", "--no-sync"]
        self._run("initdb", "-D", f"{self.folder}/data", *options)
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._bin / program), *arguments],
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            timeout=60,
            **self._as,
        )

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-s", *arguments)

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -F"
        self._control("start", "-w", "-l", f"{self.folder}/log", "-o", options)

    def stop(self) -> None:
        self._control("stop", "-m", "immediate")

    def execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    def url(self, password: str = PASSWORD, name: str = "postgres") -> str:
        return f"postgresql://me:{password}@127.0.0.1:{self.port}/{name}"


@pytest.fixture(scope="module")
def server():
    if not glob.glob("/usr/lib/postgresql/*/bin/initdb"):
        pytest.skip("no PostgreSQL server here (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="psycopg is not installed: the extra [postgres]")
    server = Server()
    yield server
    server.stop()
    shutil.rmtree(server.folder)


@pytest.fixture
def url(server):
    """A database with nothing in it."""
    server.execute("drop database if exists studies with (force)")
    server.execute("create database studies")
    return server.url(name="studies")


def finished(url: str) -> list[optuna.trial.FrozenTrial]:
    study = optuna.load_study(study_name="s/lora", storage=url.replace("ql:", "ql+psycopg:"))
    return study.get_trials()


@pytest.mark.cluster
def test_a_sweep_leaves_its_trials_there_and_its_password_nowhere(
    url, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    arguments = (*ARGUMENTS, f"search.storage={url}", "search.trials=4")
    launcher = FakeLauncher()
    records = drive(launcher, *arguments)
    trials = finished(url)
    assert [t.state.name for t in trials] == ["COMPLETE"] * 4
    assert {t.user_attrs["fingerprint"] for t in trials} == {r.fingerprint for r in records}
    assert not (tmp_path / "runs" / "s" / "study.db").exists()

    again = FakeLauncher()
    assert drive(again, *arguments) == records and again.submitted == []

    from harness.search.sweep_folder import describe

    sweep, plans = composed(*arguments)
    about = describe(sweep, list(plans.values()), {"lora": "m"}, "d", arguments)
    said = repr(about) + repr(sweep) + "".join(capfd.readouterr())
    assert "127.0.0.1" in about["command"] and "search.storage=postgresql" in about["command"]
    files = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert len(files) > 4
    assert not [path for path in files if PASSWORD.encode() in path.read_bytes()]
    assert PASSWORD not in said and "me:" not in said


@pytest.mark.cluster
def test_a_database_that_goes_away_and_comes_back(url, server, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    down = []

    def back():
        time.sleep(DOWN_SECONDS)
        server.start()
        down.append(time.monotonic())

    def fault(job):
        if job.trial == 2 and not down:
            server.stop()  # before its record is told
            down.append(time.monotonic())
            threading.Thread(target=back).start()

    launcher = FakeLauncher(slots=2, fault=fault)
    arguments = ("method.r=choice(1,2,3,4,5,6,7,8,9,10,11,12)", "search.trials=8", ARGUMENTS[0])
    records = drive(launcher, *arguments, *ARGUMENTS[2:], f"search.storage={url}")
    assert down[1] - down[0] >= DOWN_SECONDS
    fingerprints = [job.fingerprint for job in launcher.submitted]
    assert len(fingerprints) == len(set(fingerprints)) == len(records)
    told = [t for t in finished(url) if "repeats" not in t.user_attrs]
    assert [t.state.name for t in told] == ["COMPLETE"] * 8
    assert {t.user_attrs["fingerprint"] for t in told} == set(fingerprints)
    said = capfd.readouterr()
    about = [line for line in said.out.splitlines() if "database" in line]
    assert len(about) == 2 and said.err == "", "one message when it goes, one when it is back"
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d  The database postgresql://127\.0\.0\.1:\d+/studies does not answer\. "
        r"Running trials continue; the sweep waits for it, at most 60 minutes, and then continues\.",
        about[0],
    )
    assert re.fullmatch(r"\d\d:\d\d:\d\d  The database answers again after \d+ s\.", about[1])


@pytest.mark.cluster
def test_a_database_that_stays_away(url, server, tmp_path, monkeypatch, pool, capfd):
    """The entry itself on real trials: exit code 75 and one message; the same command goes on."""
    from harness.sweep import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.launch.local.LocalLauncher", InProcessLauncher)
    monkeypatch.setattr(InProcessLauncher, "pool", pool)
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 1.2)
    handler = signal.getsignal(signal.SIGTERM)
    submit, stopped = InProcessLauncher.submit, []

    def with_a_fault(self, folder, spec):
        if spec.get("trial") == 1 and not stopped:
            server.stop()  # the trial is run; then it cannot be told
            stopped.append(folder)
        submit(self, folder, spec)

    monkeypatch.setattr(InProcessLauncher, "submit", with_a_fault)
    arguments = [*SMALL, *ARGUMENTS, f"search.storage={url}", "search.trials=2"]
    arguments += ["training.max_steps=2"]
    assert main(arguments) == 75
    said = capfd.readouterr()
    assert said.err.count("\n") == 1 and "has not answered for 0.02 minutes" in said.err, said.err
    assert (
        "the same command resumes the sweep once it does" in said.err and PASSWORD not in said.err
    )
    assert "Traceback" not in said.out and said.out.count("does not answer") == 1
    assert main(arguments) == 2, "still away: said before anything is begun"
    assert "cannot be used" in capfd.readouterr().err
    (before,) = [path.stat().st_mtime_ns for path in stopped[0].glob("record.json")]

    server.start()
    assert main(arguments) == 0
    assert (stopped[0] / "record.json").stat().st_mtime_ns == before, "it was not run again"
    assert [t.state.name for t in finished(url)] == ["COMPLETE"] * 2
    assert len({t.user_attrs["fingerprint"] for t in finished(url)}) == 2
    assert (tmp_path / "reports" / "s" / "index.html").exists()
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.cluster
def test_an_emptied_database_is_filled_from_the_records(url, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = (*ARGUMENTS, f"search.storage={url}")
    first = drive(FakeLauncher(), *arguments, "search.trials=2")
    server.execute("drop database studies with (force)")
    server.execute("create database studies")
    launcher = FakeLauncher()
    assert drive(launcher, *arguments, "search.trials=3")[:2] == first
    assert len(launcher.submitted) == 1
    assert [t.state.name for t in finished(url)] == ["COMPLETE"] * 3


@pytest.mark.cluster
def test_two_sweeps_of_one_name_do_not_share_a_study(url, tmp_path, monkeypatch):
    """From another folder, as from another machine, it is refused; the first one goes on."""
    arguments = (*ARGUMENTS, f"search.storage={url}")
    for place in ("one", "other"):
        (tmp_path / place).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    first = drive(FakeLauncher(), *arguments, "search.trials=2")
    monkeypatch.chdir(tmp_path / "other")
    launcher = FakeLauncher()
    with pytest.raises(InputError, match=r"holds a study 's/lora' already.*another name="):
        drive(launcher, *arguments, "search.trials=2")
    assert launcher.submitted == [] and len(finished(url)) == 2
    (tmp_path / "one").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    assert drive(FakeLauncher(), *arguments, "search.trials=3")[:2] == first


@pytest.mark.cluster
def test_a_wrong_password_is_said_without_it(server):
    sweep, _ = composed("method=full", f"search.storage={server.url('wrong-one')}")
    with pytest.raises(InputError, match="password authentication failed") as caught:
        open_url(sweep.search.storage)
    assert "wrong-one" not in str(caught.value) and "127.0.0.1" in str(caught.value)


@pytest.mark.cluster
def test_what_arrived_before_the_connection_broke_is_not_done_twice(url, server, monkeypatch):
    """The answer to a commit is lost: the trial is there, and the next attempt finds it."""
    from sqlalchemy.exc import OperationalError

    monkeypatch.setattr(database, "FIRST_PAUSE", 0.01)
    storage = open_url(whole_of(url))
    study = optuna.create_study(storage=storage, study_name="s/lora")
    inner = storage._storage
    for name in ("create_new_trial", "set_trial_state_values"):
        real, broken = getattr(inner, name), []

        def call(*args, real=real, broken=broken, **kwargs):
            answer = real(*args, **kwargs)
            if not broken:
                broken.append(1)
                raise OperationalError("commit", {}, Exception("connection reset"))
            return answer

        monkeypatch.setattr(inner, name, call)
    study.tell(study.ask(), 1.0)
    study.tell(study.ask(), 2.0)
    assert [t.value for t in finished(url)] == [1.0, 2.0]


def whole_of(url: str) -> str:
    return composed("method=full", f"search.storage={url}")[0].search.storage


def test_it_gives_up_in_the_end(monkeypatch):
    from sqlalchemy.exc import OperationalError

    class Gone:
        def get_all_studies(self):
            raise OperationalError("select", {}, Exception("connection refused"))

        def get_study_name_from_id(self, study_id):
            raise KeyError(study_id)

    monkeypatch.setattr(database, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 0.1)
    said = []
    storage = PatientStorage(Gone(), "postgresql://db/x", said.append)
    with pytest.raises(Resumable, match="the same command"):
        storage.get_all_studies()
    with pytest.raises(KeyError):  # what would be the same the next time is not waited for
        storage.get_study_name_from_id(3)
    assert len(said) == 1


def test_without_the_driver(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InputError, match=r"finetune-harness\[postgres\]"):
        open_url("postgresql://db/x")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("postgresql://me:a@b/c@db:5/x", "postgresql://db:5/x"),
        ("postgresql://db/x?user=me&password=p", "postgresql://db/x"),
        ("postgresql://me:p%3F@db/x?sslmode=require", "postgresql://db/x"),
        ("search.storage=postgresql://me:p@db/x", "search.storage=postgresql://db/x"),
        ("sqlite:////tmp/a@b.db", "sqlite:////tmp/a@b.db"),
        ("method=lora", "method=lora"),
    ],
)
def test_what_is_shown_of_a_url(given, shown):
    assert hide_secrets(given) == shown


def test_the_whole_url_is_known_to_this_process_only():
    sweep, _ = composed("method=full", "search.storage='postgresql://me:hf_secret@db/x'")
    assert sweep.search.storage == "postgresql://db/x" and "hf_secret" not in repr(sweep)
    assert whole(sweep.search.storage) == "postgresql://me:hf_secret@db/x"
