"""Two processes that train one trial together: this one and a fork of it."""

from __future__ import annotations

import gc
import os
import traceback
from contextlib import contextmanager
from datetime import timedelta
from itertools import count

import pytest
from running import job
from torch import distributed

from harness.training.distributed.team import ALONE, Team
from harness.trials.follower import follow
from harness.trials.run import Workbench, run_trial


@pytest.fixture
def pair(tmp_path, pool):
    """`with pair(second) as team`: this process is rank 0; a fork of it runs `second(team)`.

    `fate`: how that one is to end.
    """

    number = count()  # a file that was met in before is no place to meet

    @contextmanager
    def begun(second, shards=False, fate=0):
        file = str(tmp_path / f"meet-{next(number)}")
        gc.collect()  # a group of before, ended in a fork, would wait for threads that are not there
        child = os.fork()
        rank = 0 if child else 1
        if rank:
            code = 1
            try:
                meet(file, rank)
                second(Team(rank, 2, shards=shards))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        meet(file, rank)
        try:
            yield Team(rank, 2, shards=shards)
        finally:
            distributed.destroy_process_group()
            _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == fate

    def meet(file, rank):
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        store = distributed.FileStore(file, 2)
        distributed.init_process_group(
            "gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60)
        )

    return begun


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(tmp_path, cache, pool, pair):
    """`run(name, config, ranks=2, shards=False)` → the folder of a finished trial."""

    def bench(team):
        made = Workbench("cpu", cache, team)
        made.pool = pool
        return made

    def finished(name, config, ranks=2, shards=False, stopping=lambda: False, **changes):
        own = job(tmp_path / name, cache, config, keep_adapter=True, **changes)
        if ranks == 1:
            run_trial(own, bench(ALONE), stopping=stopping)
        else:
            with pair(lambda team: follow(own, bench(team)), shards) as team:
                run_trial(own, bench(team), stopping=stopping)
        return own.path

    finished.bench = bench
    return finished
