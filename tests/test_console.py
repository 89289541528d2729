"""The console command and each entry explain themselves, without loading torch."""

from __future__ import annotations

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
