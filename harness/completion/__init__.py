"""Completion in the shell, of harness and of python -m harness: ``harness completion bash``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from harness.arguments import command_arguments
from harness.completion.shells import SCRIPTS
from harness.errors import unknown

HELP = """\
Print a script that completes commands, keys and values in a shell, after harness and after
python -m harness.

  eval "$(harness completion bash)"         in ~/.bashrc; also: python -m harness.completion bash
  eval "$(harness completion zsh)"          in ~/.zshrc, after compinit
  harness completion fish | source          in ~/.config/fish/config.fish

exit codes: 0 done, 2 wrong input"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the script of a shell, or for ``words ...`` the completions of the last word."""
    shell, *words = command_arguments(arguments) or ["--help"]
    if shell in ("-h", "--help"):
        print(HELP)
    elif shell == "words":  # asked by the scripts
        from harness.completion.candidates import candidates

        print("\n".join(candidates(words)))
    elif shell in SCRIPTS and not words:
        print(SCRIPTS[shell])
    else:
        asked = " ".join([shell, *words]) if shell in SCRIPTS else shell
        print(unknown("shell", asked, SCRIPTS), file=sys.stderr)
        return 2
    return 0
