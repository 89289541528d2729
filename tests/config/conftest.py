from __future__ import annotations

import signal

import pytest
from sweeping import SMALL, InProcessLauncher


@pytest.fixture
def sweep(tmp_path, monkeypatch, capsys, pool):
    """`sweep("method=lora", ...)` → (exit code, stdout, stderr), in an empty folder.

    It is the entry itself; only the worker's process is left out.
    """
    from harness.sweep import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.launch.local.LocalLauncher", InProcessLauncher)
    monkeypatch.setattr(InProcessLauncher, "pool", pool)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*SMALL, *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)
