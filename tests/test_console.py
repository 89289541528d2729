"""The console command and each entry explain themselves, without loading torch."""

from __future__ import annotations

import shlex
import subprocess
import sys
from importlib import import_module

import pytest

from harness import __version__
from harness.__main__ import COMMANDS, main


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def test_every_command_is_listed_and_is_a_module(capsys):
    text = printed(capsys)
    assert text == printed(capsys, "--help")
    for name in COMMANDS:
        assert f"\n  {name} " in text
        assert callable(import_module(f"harness.{name}").main)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("init", ("faq.csv", "name=", "folder=")),
        ("sweep", ("plan=true", "sweep=rank_study", "learning_rate")),
        ("trial", ("sequence=", "measure=", "learning_rate")),
        ("evaluate", ("adapter=", "stage=confirm", "max_new_tokens")),
        ("clean", ("plan=true", "cache_days=")),
        ("verify", ("steps=", "METHOD/FINGERPRINT")),
        ("status", ("json=true", "runs/NAME")),
        ("report", ("reports_dir=", "runs/NAME")),
        ("export", ("merged=true", "bits=4", "push=USER/NAME", "output=FOLDER")),
        ("doctor", ("FAIL", "method=qlora")),
        ("completion", ('eval "$(harness completion bash)"', "zsh", "fish")),
    ],
)
def test_help_explains_the_arguments_of_that_command(name, own):
    command = [sys.executable, "-m", f"harness.{name}", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    missing = [text for text in (*own, f"python -m harness.{name}") if text not in done.stdout]
    assert not missing and not done.stderr


def test_a_misspelt_command_gets_the_nearest_one(capsys):
    assert main(["swep"]) == 2
    assert "Unknown command 'swep'. Did you mean sweep?" in capsys.readouterr().err


def test_the_version_is_ours():
    for module in ("harness", "harness.sweep"):
        command = [sys.executable, "-m", module, "--version"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == f"harness {__version__}"


WRONG = {
    "verify file.txt": "file.txt/record.json cannot be used: Not a directory",
    "verify empty stepz=3": "Unknown option 'stepz'. Did you mean steps?",
    "status empty --json": "--json cannot be used: it is written json=VALUE",
    "status file.txt": "file.txt: no folder of a sweep",
    "clean file.txt": "'file.txt' cannot be cleaned: a file, and a folder is needed",
    "clean home": "'home' is neither a sweep nor a folder of sweeps",
    "report empty empty": "empty empty: each folder is named once",
    "report empty reports_dir=": "reports_dir='' cannot be used",
    "export --merged empty": "--merged cannot be used: it is written merged=VALUE",
    "init a.csv b.csv": "name one data file, or several as a list: 'data.train=[a.csv,b.csv]'",
    "init absent.csv": "data.train: absent.csv does not exist",
    "init header.csv": "data.train: header.csv holds no rows",
    "init a.csv folder=file.txt": "cannot be used: Not a directory",
    "init a.csv folder=": "folder='' cannot be used: it must be the path of a folder",
    "sweep a.csv": "'a.csv' is not an override: a data file is typed data.train=a.csv",
    "trial plan=true": "plan=true: a trial is one run",
    """trial 'sequence=[builtin,""]'""": "sequence: '' cannot be used",
    "trial runs_dir=file.txt training.max_steps=1": "file.txt",
    "trial evaluation.metrics=[./nosuch]": "this script or folder does not exist",
    "sweep 'data.train=LONG'": "LONG cannot be used: File name too long",
    "sweep launcher.threads=100000": "launcher.threads=100000 cannot be used: it must be at most",
    "sweep model.revision=xyz": "model.revision='xyz' cannot be used",
}


@pytest.mark.parametrize("typed", WRONG)
def test_wrong_input_is_answered_in_one_line_and_leaves_nothing(
    typed, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "home/.cache/somebody"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "file.txt").write_text("text")
    (tmp_path / "a.csv").write_text("prompt,answer\n" + "a,b\n" * 30)
    (tmp_path / "header.csv").write_text("prompt,answer\n")
    long = f"{'x' * 300}.csv"

    def there():
        found = (path for path in tmp_path.rglob("*") if ".cache" not in path.parts)
        return {path for path in found if path.name != "runs"}  # where a cache may be

    before = there()
    assert main([text.replace("LONG", long) for text in shlex.split(typed)]) == 2
    said = capsys.readouterr().err
    assert WRONG[typed].replace("LONG", long) in said and said.count("\n") == 1
    assert there() == before
