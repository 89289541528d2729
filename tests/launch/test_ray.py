"""Ray as it is: its own local cluster of several nodes, one of them killed under a trial."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import node_worker
import pytest
from own_lines import without_phases
from sweeping import SMALL, InProcessLauncher, composed

from harness.errors import InputError
from harness.launch.clusters.ray import RayLauncher, check, connect
from harness.launch.clusters.ray_slot import changed, in_order, write_bytes
from harness.launch.launcher import Ended
from harness.records import read_json, read_record

ROOT = Path(__file__).parent.parent.parent
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


def configured(*arguments: str, **changes):
    config = composed("method=full", "launcher=ray", *arguments)[0].launcher
    return replace(config, num_gpus=0, **changes)


@pytest.fixture(scope="module")
def cluster():
    """Two nodes with room for a worker each; the second one will be killed."""
    pytest.importorskip("ray", reason="Ray is not installed: the extra [ray]")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(Path(__file__).parent)]))
        about = {"include_dashboard": False, **NODE}
        cluster = Cluster(initialize_head=True, head_node_args=about)
        cluster.second = cluster.add_node(**NODE)
        yield cluster
        cluster.shutdown()


@pytest.fixture
def launch(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(RayLauncher, "slot_class", node_worker.fake_slot())
    monkeypatch.setattr("harness.launch.clusters.ray.POLL_SECONDS", 0.1)
    made = []

    def build(**changes):
        config = configured(address=cluster.address, **changes)
        made.append(RayLauncher(config, tmp_path / "cache", tmp_path / "workers"))
        return made[-1]

    yield build
    for launcher in made:
        launcher.close()


def wait_for(what, seconds: float = 120.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def task(launcher, folder: Path, **spec) -> Path:
    folder.mkdir(exist_ok=True)
    launcher.submit(folder, spec)
    return folder


def ends(launcher, n=1) -> list[Ended]:
    ended = []
    wait_for(lambda: ended.extend(launcher.poll()) or len(ended) >= n)
    return ended


def starts(folder: Path) -> list[int]:
    """The step that each run of a task began with."""
    return [int(line.split()[0]) for line in (folder / "starts").read_text().split("\n")[:-1]]


def under_way(launcher, folder: Path, rows: int) -> bool:
    launcher.poll()
    file = folder / "metrics.jsonl"
    return file.exists() and file.read_text().count("\n") >= rows


def is_over(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.cluster
def test_a_node_is_killed_under_a_trial(launch, tmp_path, cluster):
    """Its trial goes on elsewhere from its checkpoint; the other one is not touched."""
    import ray

    launcher = launch()
    assert launcher.size == 2
    wait_for(lambda: launcher.has_room() and all(slot.ready for slot in launcher._slots))
    slots = sorted(launcher._slots, key=lambda slot: not _on(cluster.second, slot))
    launcher._slots = slots  # the first task goes to the node that will be killed
    one = task(launcher, tmp_path / "one", steps=100)
    two = task(launcher, tmp_path / "two", steps=60)
    assert not launcher.has_room()
    wait_for(lambda: under_way(launcher, one, 25))
    worker = int((one / "starts").read_text().split()[1])
    cluster.remove_node(cluster.second, allow_graceful=False)
    ended = {end.folder: end for end in ends(launcher, 2)}
    assert ended == {one: Ended(one, lost=-9), two: Ended(two)}
    wait_for(lambda: is_over(worker))  # with its actor

    task(launcher, one, steps=100)  # as the driver does: there is one node left
    assert ends(launcher) == [Ended(one)]
    first, second = starts(one)
    assert first == 0 and second >= 20 and read_json(one / "record.json") == {"steps": 100}
    assert starts(two) == [0] and read_json(two / "record.json") == {"steps": 60}
    assert not ray.nodes()[0]["Alive"] or not ray.nodes()[1]["Alive"]


def _on(node, slot) -> bool:
    """Return True if the slot's actor is a child of the node's raylet."""
    import ray

    raylet = node.all_processes["raylet"][0].process.pid
    status = Path(f"/proc/{ray.get(slot.actor.pid.remote())}/status").read_text()
    return f"PPid:\t{raylet}\n" in status


@pytest.mark.cluster
def test_without_a_shared_folder_files_come_and_go_with_the_calls(launch, tmp_path, cluster):
    """Stopped with the driver, killed with its actor, and finished: each time from its checkpoint."""
    import ray

    launcher = launch(shared=False, workers=1)
    no = task(launcher, tmp_path / "no", rejects=1)
    assert ends(launcher) == [Ended(no, rejected="no")]
    one = task(launcher, tmp_path / "one", steps=100)
    wait_for(lambda: under_way(launcher, one, 3))
    launcher.close()
    stopped = read_json(one / "checkpoint" / "step.json")  # written when told to stop
    assert stopped >= 3 and not (one / "record.json").exists()

    launcher = launch(shared=False, workers=1)
    task(launcher, one, steps=100)
    wait_for(lambda: under_way(launcher, one, stopped + 25))
    ray.kill(launcher._slots[0].actor)
    assert ends(launcher) == [Ended(one, lost=-9)]
    task(launcher, one, steps=100)
    assert ends(launcher) == [Ended(one)]
    begun = starts(one)
    assert begun[:2] == [0, stopped] and begun[2] >= 20 and len(begun) == 3
    assert read_json(one / "record.json") == {"steps": 100}
    assert not (one / "checkpoint" / ".step.json").exists()

    failing = task(launcher, tmp_path / "failing", steps=5, exits=2)
    assert ends(launcher) == [Ended(failing, lost=7)]
    assert (failing / "starts").read_text().split()[2:] == ["1", "[]"]  # threads, GPUs


@pytest.mark.cluster
def test_a_whole_sweep_gives_what_this_machine_gives(cluster, tmp_path, monkeypatch, pool):
    """Two methods to the report through real actors and workers; every measurement bit for bit."""
    from harness.sweep import main

    arguments = [*SMALL, "method=lora,full", "name=s", "training.max_steps=3", "search.trials=2"]
    arguments += ["confirm.finalists=1", "confirm.seeds=1"]
    own = [f"launcher.address={cluster.address}", "launcher.num_gpus=0", "launcher.workers=1"]
    there = tmp_path / "there"
    there.mkdir()
    command = [sys.executable, "-m", "harness.sweep", *arguments, "launcher=ray", *own]
    done = subprocess.run(
        command, cwd=there, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert without_phases(done.stderr) == "" and "Report: reports/s" in done.stdout

    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr("harness.launch.local.LocalLauncher", InProcessLauncher)
    monkeypatch.setattr(InProcessLauncher, "pool", pool)
    handler = signal.getsignal(signal.SIGTERM)
    assert main(arguments) == 0
    signal.signal(signal.SIGTERM, handler)
    ours, theirs = measured(here), measured(there)
    assert len(ours) == 6 and theirs == ours
    assert numbers_of(there) == numbers_of(here)


def measured(folder: Path) -> dict[str, object]:
    """Return the parts of the records that do not depend on time and place."""
    records = [read_record(path.parent) for path in folder.rglob("record.json")]
    return {r.fingerprint: (r.status, r.attempt, r.trial, r.measurements, r.base) for r in records}


def numbers_of(folder: Path) -> object:
    """The report's own numbers, without times and memory, and without whom they decide a tie for."""
    report = read_json(folder / "reports" / "s" / "report.json")
    assert report.pop("recommendation") and report["leaderboard"]
    return _timeless(report)


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        timed = ("cost", "seconds", "memory", "created", "command", "per_second", "provenance")
        kept = {k: v for k, v in value.items() if not any(word in k for word in timed)}
        return {key: _timeless(inner) for key, inner in kept.items()}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.cluster
def test_what_does_not_fit(launch):
    with pytest.raises(InputError, match=r"no node of the cluster has 64 CPUs and 0 GPUs"):
        launch(num_cpus=64)


@pytest.mark.cluster
def test_no_cluster_there():
    pytest.importorskip("ray", reason="Ray is not installed: the extra [ray]")
    with pytest.raises(InputError, match=r"launcher\.address='127\.0\.0\.1:1'.*ray start --head"):
        connect(configured(address="127.0.0.1:1"))


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"finetune-harness\[ray\]"):
        check(configured())


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("launcher.num_gpus=-1", "0 or more"),
        ("launcher.num_cpus=0", "above 0"),
        ("launcher.address=''", "an address"),
        ("launcher.devices=[0]", "launcher.num_gpus"),
        ("launcher.partition=x", "partition"),
    ],
)
def test_what_an_actor_cannot_be(typed, told):
    with pytest.raises(InputError, match=told):
        composed("method=full", "launcher=ray", typed)


def test_files_that_travel(tmp_path):
    """Only what changed; nothing half written, nothing that is not the task's, answers last."""
    there, here = tmp_path / "there", tmp_path / "here"
    for name in ("record.json", "checkpoint/step-1/state.pt", "a", "spec.json", ".x.tmp/y"):
        write_bytes(there, name, name.encode())
    first = changed(there, {})
    assert [name for name, _ in in_order(first["files"])] == [
        *("a", "checkpoint/step-1/state.pt", "record.json")
    ]
    write_bytes(there, "a", b"longer")
    assert changed(there, first["stamps"])["files"] == {"a": b"longer"}
    for name in ("../evil", "/tmp/evil", "a/../../evil", ""):
        with pytest.raises(ValueError, match="is not a file of"):
            write_bytes(here, name, b"")
    assert not here.exists()
