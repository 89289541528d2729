"""An export on the hub: uploaded by the hub's own library to a server that speaks its protocol."""

from __future__ import annotations

import huggingface_hub
import pytest
from hub_server import TOKEN, running_hub

from harness import export


@pytest.fixture
def hub(monkeypatch):
    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        # Read when the library is imported, which was before.
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        yield running


def test_it_is_uploaded_privately_and_whole(hub, trial, tmp_path, capfd):
    arguments = [str(trial("lora")[0]), f"output={tmp_path / 'own'}", "push=me/tuned"]
    assert export.main(arguments) == 0
    assert hub.repositories == {"me/tuned": "private"}
    files = [path for path in (tmp_path / "own").iterdir() if path.is_file()]
    assert {path.name: path.read_bytes() for path in files} == hub.files
    assert list(hub.stored.values()) == [hub.files["adapter_model.safetensors"]]
    said = "".join(capfd.readouterr())
    assert f"Uploaded: {hub.address}/me/tuned" in said and TOKEN not in said

    hub.repositories["me/tuned"] = "public"
    hub.files.clear()
    assert export.main(arguments) == 2
    assert "exists and is public" in capfd.readouterr().err and hub.files == {}
    assert export.main([*arguments, "private=false"]) == 0
    assert set(hub.files) == {path.name for path in files}


def test_a_hub_that_refuses_is_told_and_the_export_stays(hub, trial, tmp_path, monkeypatch, capfd):
    hub.full = True
    arguments = [str(trial("lora")[0]), f"output={tmp_path / 'own'}", "push=me/tuned"]
    assert export.main(arguments) == 1
    said = capfd.readouterr().err
    assert "exceeded your storage limit" in said and "is whole" in said and TOKEN not in said
    assert (tmp_path / "own" / "export.json").exists() and hub.files == {}

    wrong = "hf_" + "wrong" * 6
    monkeypatch.setenv("HF_TOKEN", wrong)
    assert export.main(arguments) == 1
    said = capfd.readouterr().err
    assert "Invalid user token" in said and wrong not in said


def test_without_a_token_nothing_is_written(trial, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    assert export.main([str(trial("lora")[0]), f"output={tmp_path / 'x'}", "push=me/x"]) == 2
    assert "HF_TOKEN" in capsys.readouterr().err and list(tmp_path.iterdir()) == []
