"""Missing programs and unreachable services are reported before any compute is spent."""

from __future__ import annotations

import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sweeping import SMALL, InProcessLauncher

from harness.errors import InputError


def test_four_bits_without_the_library(tmp_path, monkeypatch, capsys, pool):
    """The entry itself: nothing is left behind, and the message names what is missing."""
    from harness.sweep import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.launch.local.LocalLauncher", InProcessLauncher)
    monkeypatch.setattr(InProcessLauncher, "pool", pool)
    for name in [name for name in sys.modules if name.split(".")[0] == "bitsandbytes"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        assert main([*SMALL, "method=qlora", "name=s"]) == 2
    finally:
        signal.signal(signal.SIGTERM, handler)
    said = capsys.readouterr().err
    assert "quantization nf4 cannot be used" in said and "bitsandbytes" in said
    assert said.count("\n") == 1 and "Traceback" not in said
    assert not [path for path in Path().rglob("*") if path.is_file()]


@pytest.mark.parametrize("way", ["refused", "silent"])
def test_a_hub_that_does_not_answer(way, tmp_path, monkeypatch, model_config):
    """Nobody listens, or somebody who never says a word: neither is waited for."""
    from huggingface_hub import constants

    from harness.models.loading.location import pinned_revision

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if way == "silent":
            server.listen()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        began = time.monotonic()
        with pytest.raises(InputError, match=r"model\.name='nobody/nothing'"):
            pinned_revision(replace(model_config, name="nobody/nothing"))
        assert time.monotonic() - began < 20
