"""SLURM as it is: one node on loopback, from the distribution's packages, started by these tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import node_worker
import pytest
from sweeping import composed

from harness.errors import InputError
from harness.launch.clusters import slurm
from harness.launch.clusters.slurm import SlurmLauncher, check
from harness.launch.launcher import Ended
from harness.records import read_json

ROOT = Path(__file__).parent.parent.parent
CONF = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=10
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
StateSaveLocation={folder}
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 MaxTime=300
PartitionName=graced Nodes={host} PriorityTier=1 MaxTime=300 GraceTime=10
PartitionName=high Nodes={host} PriorityTier=2 MaxTime=300 PreemptMode=OFF
"""


def program(name: str) -> str | None:
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A running SLURM; its tools find it by SLURM_CONF."""
    missing = [name for name in ("slurmctld", "slurmd", "sbatch") if program(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)} here (Debian: apt-get install slurmctld slurmd)")
    pytest.importorskip("submitit", reason="submitit is not installed: the extra [slurm]")
    if os.getuid() != 0:
        pytest.skip("a SLURM node starts jobs as their users: it has to be root")
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "spool").mkdir()
    sockets = [socket.socket() for _ in range(2)]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    ports = [free.getsockname()[1] for free in sockets]
    for free in sockets:
        free.close()
    about = dict(host=socket.gethostname().split(".")[0], ports=ports, user="root", folder=folder)
    (folder / "slurm.conf").write_text(CONF.format(**about))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(Path(__file__).parent)]))
        started = []
        for name, options in (("slurmctld", ["-i"]), ("slurmd", [])):
            with (folder / f"{name}.log").open("w") as log:
                command = [program(name), "-D", *options, "-f", str(folder / "slurm.conf")]
                process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
                started.append(process)
        wait_for(lambda: "idle" in said("sinfo", "--noheader"), 120)
        yield folder
        wait_for(
            lambda: not said("squeue", "--noheader")
        )  # a step that cannot report stays for ever
        for process in started:
            process.terminate()
        for process in started:
            process.wait(20)


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout


def wait_for(what, seconds: float = 120.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen")


@pytest.fixture
def launch(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "run_task", node_worker.run_task)
    monkeypatch.setattr(slurm, "QUEUE_SECONDS", 0.5)
    monkeypatch.setattr(slurm, "GONE_SECONDS", 3.0)
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.1)
    made = []

    def build(**changes):
        config = composed("method=full", "launcher=slurm")[0].launcher
        config = replace(config, gpus_per_task=0, cpus_per_task=1, max_jobs=2, **changes)
        made.append(SlurmLauncher(config, tmp_path / "cache", tmp_path / "s" / "workers"))
        return made[-1]

    yield build
    for launcher in made:
        launcher.close()


def task(launcher, folder: Path, **spec) -> Path:
    folder.mkdir(exist_ok=True)
    launcher.submit(folder, spec)
    return folder


def ends(launcher, n=1, seconds=120.0) -> list[Ended]:
    ended = []
    wait_for(lambda: ended.extend(launcher.poll()) or len(ended) >= n, seconds)
    return ended


def starts(folder: Path) -> list[int]:
    """The step that each run of a task began with."""
    file = folder / "starts"
    return (
        [int(line.split()[0]) for line in file.read_text().split("\n")[:-1]]
        if file.exists()
        else []
    )


def under_way(folder: Path, rows: int = 3) -> bool:
    file = folder / "metrics.jsonl"
    return file.exists() and file.read_text().count("\n") >= rows


def job_of(folder: Path) -> str:
    return read_json(folder / "slurm.json")["job"]


@pytest.mark.cluster
def test_jobs_are_preempted_requeued_killed_and_finished(launch, tmp_path, cluster):
    """Two at a time; one is requeued by the scheduler, one is cancelled: each ends once."""
    launcher = launch()
    one = task(launcher, tmp_path / "one", steps=60)
    two = task(launcher, tmp_path / "two", steps=60, exits=None)
    assert not launcher.has_room()
    wait_for(lambda: under_way(one) and under_way(two))
    job = job_of(one)
    said("scontrol", "requeue", job)  # as the scheduler does with a preempted one
    said("scancel", job_of(two))
    wait_for(lambda: "JobState=PENDING" in said("scontrol", "show", "job", job))
    said("scontrol", "update", f"jobid={job}", "StartTime=now")  # else it waits for two minutes
    ended = ends(launcher, 2)
    assert {end.folder: end.lost for end in ended} == {one: None, two: 75}
    assert job_of(one) == job  # the same job went on
    first, second = starts(one)
    assert first == 0 and 3 <= second < 60 and read_json(one / "record.json") == {"steps": 60}
    assert (two / "checkpoint" / "step.json").exists() and not (two / "record.json").exists()

    # the driver tries it again; with it one that is rejected
    task(launcher, two, steps=60), task(launcher, tmp_path / "no", rejects=True)
    ended = {end.folder: end for end in ends(launcher, 2)}
    assert ended[two] == Ended(two) and ended[tmp_path / "no"].rejected == "no"
    wait_for(lambda: not said("squeue", "--noheader"))  # nothing goes on once it was answered
    assert starts(two)[1] >= 3 and (two / "starts").read_text().split()[2:4] == ["1", "[]"]


@pytest.mark.cluster
@pytest.mark.parametrize("partition", ["low", "graced"])
def test_pushed_out_by_a_job_of_a_better_partition(launch, tmp_path, cluster, partition):
    """The scheduler itself preempts: a checkpoint, back in the queue, and not one step is lost.

    Without a grace SLURM requeues the job. Who ends within its grace, as ours do, is over for SLURM.
    """
    launcher = launch(partition=partition)
    one = task(launcher, tmp_path / "one", steps=120)
    wait_for(lambda: under_way(one, 23))  # past the checkpoint of step 20
    job = job_of(one)
    script = tmp_path / "urgent.sh"
    script.write_text("#!/bin/sh\nsleep 2\n")
    log = f"--output={tmp_path / 'urgent.log'}"
    urgent = said("sbatch", "--parsable", "--partition=high", "--cpus-per-task=2", log, str(script))
    wait_for(lambda: (one / "slurm.json").exists() and _state(urgent.strip()) == "RUNNING")
    reached = steps_of(one)
    assert not (one / "record.json").exists(), "it was pushed out in the middle"
    assert read_json(one / "checkpoint" / "step.json") == reached[-1] < 120
    assert launcher.poll() == [], "no trial is over, and no attempt is counted"
    assert _state(job) == {"low": "PENDING", "graced": "COMPLETED"}[partition]
    if partition == "low":
        said("scontrol", "update", f"jobid={job}", "StartTime=now")  # else it waits for two minutes
    assert ends(launcher) == [Ended(one)]
    assert (job_of(one) == job) == (partition == "low"), "else the driver gave it another job"
    assert starts(one) == [0, reached[-1]], "it went on from the last step that it had done"
    assert steps_of(one) == list(range(1, 121)), "every step once"


def _state(job: str) -> str:
    return said("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T").strip()


def steps_of(folder: Path) -> list[int]:
    return [
        json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]


@pytest.mark.cluster
def test_the_end_of_a_jobs_time_and_a_worker_that_exits(launch, tmp_path):
    """Told to stop before its time is over, a task goes on in another job, and that is no attempt."""
    launcher = launch()
    one = task(launcher, tmp_path / "one", steps=60)
    failing = task(launcher, tmp_path / "failing", steps=60, exits=2)
    wait_for(lambda: under_way(one))
    job = job_of(one)
    said("scancel", "--signal=USR2", job)  # what --signal=USR2@90 does
    ended = {end.folder: end for end in ends(launcher, 2)}
    assert ended == {one: Ended(one), failing: Ended(failing, lost=7)}
    assert job_of(one) != job and len(starts(one)) == 2 and starts(one)[1] >= 3


@pytest.mark.cluster
def test_a_driver_that_was_killed_finds_its_jobs(launch, tmp_path):
    launcher = launch()
    one = task(launcher, tmp_path / "one", steps=60)
    wait_for(lambda: under_way(one))
    again = launch()  # the first is forgotten, as by SIGKILL
    task(again, one, steps=60, attempt=2)
    assert ends(again) == [Ended(one)] and starts(one) == [0]
    launcher._tasks.clear()


@pytest.mark.cluster
def test_a_node_that_is_lost_and_closing(launch, tmp_path):
    """All of a job's processes are killed at once; then the driver is stopped."""
    launcher = launch()
    one = task(launcher, tmp_path / "one", steps=400)
    wait_for(lambda: under_way(one))
    worker = int((one / "starts").read_text().split()[1])
    (line,) = re.findall(r"PPid:\t(\d+)", Path(f"/proc/{worker}/status").read_text())
    for pid in (int(line), worker):
        os.kill(pid, signal.SIGKILL)
    assert ends(launcher) == [Ended(one, lost=-9)]
    one.joinpath("metrics.jsonl").unlink()
    two = task(launcher, tmp_path / "two", steps=400)
    wait_for(lambda: under_way(two))
    launcher.close()
    assert (two / "checkpoint" / "step.json").exists() and not (two / "record.json").exists()
    wait_for(lambda: not said("squeue", "--noheader"))


@pytest.mark.cluster
def test_what_the_scheduler_refuses(launch, tmp_path):
    launcher = launch(partition="nowhere")
    with pytest.raises(InputError, match=r"launcher=slurm.*partition"):
        task(launcher, tmp_path / "one", steps=1)


@pytest.mark.cluster
def test_a_job_that_would_wait_for_ever_is_reported(launch, tmp_path, capfd):
    launcher = launch(time_minutes=600)
    task(launcher, tmp_path / "one", steps=1)
    wait_for(lambda: launcher.poll() or "PartitionTimeLimit" in capfd.readouterr().out)


def test_where_there_is_no_slurm(monkeypatch):
    config = composed("method=full", "launcher=slurm")[0].launcher
    assert (config.name, config.retries, config.max_jobs) == ("slurm", 2, 4)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r"finetune-harness\[slurm\]"):
        check(config)


def test_without_its_commands(monkeypatch, tmp_path):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="sbatch, srun, squeue, scancel not found"):
        check(composed("method=full", "launcher=slurm")[0].launcher)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("launcher.max_jobs=0", "at least 1"),
        ("launcher.time_minutes=1", "at least 3"),
        ("launcher.workers=2", "launcher.max_jobs"),
        ("launcher.devices=[0]", "launcher.gpus_per_task"),
        ("launcher.mem_gb=0", "above 0"),
        ("launcher.modules=['cuda; rm -rf /']", "names of modules"),
        ('launcher.modules=["cuda\\nid"]', "names of modules"),
        ("launcher.modules=[-f]", "names of modules"),
        ("launcher.setup=[id]", "setup"),
        ("+launcher.options.wrap=id", "it would choose the program of a job"),
        ("+launcher.options.export='LD_PRELOAD=x'", "it would choose the program of a job"),
        ("+launcher.options.export_file=x", "it would choose the program of a job"),
    ],
)
def test_what_a_slurm_job_cannot_be(typed, told):
    with pytest.raises(InputError, match=told):
        composed("method=full", "launcher=slurm", typed)


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"constraint": "a100\nid"}},
        {"options": {"constraint": "a100\rid"}},
        {"options": {"x\nid": 1}},
        {"options": {"qos": ["a", "b"]}},
        {"partition": "low\nid"},
        {"account": "me\nid"},
        {"modules": ["cuda\nid"]},
    ],
)
def test_no_value_becomes_a_line_of_the_jobs_script(changes):
    """However it was typed: a YAML of somebody else's can hold any string."""
    config = composed("method=full", "launcher=slurm")[0].launcher
    with pytest.raises(InputError, match=r"launcher\.(options|partition|account|modules)"):
        replace(config, **changes)


def test_the_script_of_a_job(tmp_path, monkeypatch):
    """Every line that is run is ours; what was configured stands in comments and module names."""
    pytest.importorskip("submitit", reason="submitit is not installed: the extra [slurm]")
    from submitit.slurm.slurm import _make_sbatch_string

    monkeypatch.setattr(slurm, "check", lambda config: None)
    monkeypatch.setattr("submitit.slurm.slurm.SlurmExecutor.affinity", lambda *a: 1)
    typed = ("launcher.modules=[cuda/12.4,gcc]", "+launcher.options.qos=long")
    config = composed("method=full", "launcher=slurm", "launcher.partition=low", *typed)[0].launcher
    launcher = SlurmLauncher(config, tmp_path / "cache", tmp_path / "s" / "workers")
    about = launcher._executor().parameters
    script = _make_sbatch_string("COMMAND", tmp_path, **about)
    run = [line for line in script.splitlines() if line and not line.startswith("#")]
    assert run[:2] == ["module load cuda/12.4 || exit 1", "module load gcc || exit 1"]
    assert len(run) == 4 and run[2].startswith("export SUBMITIT") and run[3].startswith("srun ")
    assert "#SBATCH --qos=long" in script and "#SBATCH --partition=low" in script
