"""No secret is written down: not by a record, a log, an error, a command line or the mirror."""

from __future__ import annotations

import io
import os

import pytest
from running import identified, job
from sweeping import FakeLauncher, drive

from harness.errors import InputError
from harness.launch.worker import Worker
from harness.records import read_record, write_json
from harness.records.secrets import Scrubbed, is_secret_name, looks_secret, scrub
from harness.tracking.contents import redact

TOKEN = "hf_abcdefghijklmnopqrstuv"
OTHER = "correct horse battery staple"
PASSWORD = "postgresql://me:swordfish@db.example/x"


@pytest.fixture
def secrets(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("WANDB_API_KEY", OTHER)
    monkeypatch.setenv("ORDINARY", "an ordinary value")
    return TOKEN, OTHER, "swordfish"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"401 for {TOKEN}", "401 for ***"),
        (f"key={OTHER}!", "key=***!"),
        (PASSWORD, "postgresql://***@db.example/x"),
        ("x://h/d?user=me&password=swordfish&a=1", "x://h/d?user=me&password=***&a=1"),
        ("Authorization: Bearer abcdef.123456", "Authorization: Bearer ***"),
        ("sk-" + 20 * "a", "***"),
        ("an ordinary value, task-like-this-one-and-more", None),
        ("learning_rate=0.0001 on https://example.com/a@b", None),
    ],
)
def test_scrub(secrets, text, clean):
    assert scrub(text) == (text if clean is None else clean)
    assert looks_secret(text) == (clean is not None)


def test_without_the_variables_their_values_are_ordinary_text(monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert scrub(OTHER) == OTHER
    monkeypatch.setenv("API_KEY", "short")
    assert scrub("a short word") == "a short word"


@pytest.mark.parametrize("name", ["HF_TOKEN", "apiKey", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD"])
def test_names(name):
    assert is_secret_name(name)


def test_a_log_lets_none_through_even_in_pieces(secrets):
    kept = io.StringIO()
    log = Scrubbed(kept)
    print("a", TOKEN[:9], end="", file=log)
    print(TOKEN[9:], "b", file=log)
    log.flush()
    assert kept.getvalue() == "a *** b\n"
    print("no end of line", end="", file=log)
    log.close_line()
    assert kept.getvalue().endswith("b\nno end of line")


def test_no_file_of_a_failed_trial_has_one(secrets, tmp_path, trial_config, monkeypatch, pool):
    from harness.trials import run

    def breaks(*about):
        raise RuntimeError(f"cannot reach https://me:swordfish@hub with {TOKEN} or {OTHER}")

    monkeypatch.setattr(run, "run_trial", breaks)
    worker = Worker("cpu", tmp_path / "cache", os.getppid())
    folder = tmp_path / "trial"
    config = trial_config("method=lora")
    write_json(
        folder / "spec.json",
        job(folder, tmp_path / "cache", config, **identified(config)).to_json(),
    )
    worker.run(folder)
    record = read_record(folder)
    assert record.status == "failed" and "https://***@hub with *** or ***" in record.reason
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert {"error.txt", "record.json", "spec.json"} <= {path.name for path in written}
    for path in written:
        for secret in secrets:
            assert secret not in path.read_text(), path


def test_the_mirror(secrets):
    config = {"a": {"note": f"used {TOKEN}"}, "url": PASSWORD, "api_key": "x", "n": 3}
    sent = str(redact(config))
    assert not [secret for secret in secrets if secret in sent] and "'n': 3" in sent


@pytest.mark.parametrize(
    "typed",
    [
        "model.name=${oc.env:DATABASE}",
        "model.name=${oc.env:ORDINARY_LOOKING}",
        "model.name=${oc.env:MY_PWD}",
    ],
)
def test_none_is_let_into_the_configuration(secrets, monkeypatch, tmp_path, typed):
    from harness.compose.command_line import compose_sweep

    monkeypatch.setenv("DATABASE", PASSWORD)
    monkeypatch.setenv("ORDINARY_LOOKING", TOKEN)
    monkeypatch.setenv("MY_PWD", "swordfish")
    with pytest.raises(InputError) as caught:
        compose_sweep(["method=lora", typed])
    assert not [secret for secret in secrets if secret in str(caught.value)]


@pytest.mark.parametrize("asked", ["me:swordfish@db/x", "db/x?user=me&password=swordfish"])
def test_of_a_database_host_and_name_are_kept(asked):
    from harness.compose.command_line import compose_sweep
    from harness.config.database_url import whole

    url = f"postgresql://{asked}"
    kept = compose_sweep(["method=lora", f"search.storage='{url}'"])[0].search.storage
    assert kept == "postgresql://db/x" and whole(kept) == url


def test_a_sweep_says_its_command_without(secrets, tmp_path, monkeypatch):
    from sweeping import composed

    from harness.search.sweep_folder import describe

    sweep, plans = composed("method=lora")
    typed = ["method=lora", f"model.name={TOKEN}"]
    found = describe(sweep, list(plans.values()), {"lora": "m"}, "d", typed)
    assert found["command"] == "python -m harness.sweep method=lora model.name=***"
    monkeypatch.chdir(tmp_path)
    drive(FakeLauncher(), "method=lora", "name=s", "search.trials=1", "confirm.finalists=0")
    for path in tmp_path.rglob("*.*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    "typed",
    [
        "name=../../evil",
        "name=/etc/evil",
        "name=a/../../b",
        "+method._target_=os.system",
        "+method.x={_target_:os.system}",
        "+training._target_=os.system",
        "+model.trust_remote_code=true",
        "+data.trust_remote_code=true",
        "model.name=${oc.env:HF_TOKEN}",
        "model.name=${oc.decode:${oc.env:HF_TOKEN}}",
        "model.name=${hydra:runtime.cwd}",
        "model.name=${python:os}",
    ],
)
def test_no_code_and_no_way_out(secrets, typed):
    from harness.compose.command_line import compose_trial

    with pytest.raises(InputError) as caught:
        compose_trial(["method=lora", typed])[0].trial({})
    assert TOKEN not in str(caught.value)
