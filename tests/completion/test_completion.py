"""Completion of a typed line, asked of bash itself and of the program behind it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.completion import main
from harness.completion.candidates import candidates
from harness.methods import METHODS

# What readline does: the line, its words split at blanks and '=', and the function for the program.
COMPLETE = """
_python_of_before() { COMPREPLY=(before); }
complete -F _python_of_before python
eval "$("$1" -m harness.completion bash)"
harness() { "$PYTHON" -m harness "$@"; }; python() { "$PYTHON" "$@"; }
PYTHON=$1; COMP_LINE=$2; COMP_POINT=${#2}
function=$(complete -p "${2%% *}" | sed 's/.* -F \\([^ ]*\\) .*/\\1/')
$function "${2%% *}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def in_bash(line: str) -> list[str]:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    command = [bash, "--norc", "-c", COMPLETE, "bash", sys.executable, line]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("harness sw", ["sweep "]),
        ("python -m harness sw", ["sweep "]),
        ("python -m harness.sw", ["harness.sweep "]),
        ("python -m harness.sweep method=lora,ql", ["lora,qlora"]),
        ("harness sweep method=lora training.learning_rate_", ["training.learning_rate_of="]),
        ("python -m harness.sweep data.train=", [""]),  # then bash itself completes files
        ("python -m pyt", ["before"]),
        ("python script.py -m harness.sweep me", ["before"]),
    ],
)
def test_bash_completes_a_line(line, completed):
    assert in_bash(line) == completed


def test_keys_are_completed_section_by_section_and_follow_what_is_typed():
    assert {"method=", "training.", "training=", "budget="} <= set(candidates(["sweep", ""]))
    of_lora = candidates(["sweep", "method=lora", "method."])
    assert "method.r=" in of_lora and "method.num_virtual_tokens=" not in of_lora
    assert "method.num_virtual_tokens=" in candidates(["sweep", "method."])
    assert candidates(["report", "pa"]) == ["paper="]
    assert candidates(["clean", "method"]) == []


def test_values_are_those_that_are_accepted():
    named = {text.removeprefix("method=") for text in candidates(["sweep", "method="])}
    assert named >= METHODS.keys() - {"peft"}
    assert candidates(["trial", "training.schedule=c"]) == [
        "training.schedule=constant",
        "training.schedule=cosine",
    ]
    assert candidates(["sweep", "data.chat="]) == ["data.chat=true", "data.chat=false"]
    assert candidates(["report", "paper="]) == ["paper=true", "paper=false"]


def test_another_shell_is_refused(capsys):
    assert main(["bahs"]) == 2
    assert "Unknown shell 'bahs'. Did you mean bash?" in capsys.readouterr().err


def test_scripts_name_no_path_of_this_machine(capsys):
    for shell in ("bash", "zsh", "fish"):
        assert main([shell]) == 0
        assert str(Path(__file__).parents[2]) not in capsys.readouterr().out
