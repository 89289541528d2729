"""Completions of the last word of a command line, read from ``conf/`` and the dataclasses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness import report, status
from harness.compose.accepted_values import choices
from harness.compose.folders import conf_dir
from harness.compose.key_comments import KeyComment, key_comments
from harness.export.options import KEYS as EXPORT_KEYS

__all__ = ["candidates"]

CONFIGURED = ("sweep", "trial", "evaluate", "doctor", "init")  # take keys of the configuration
OWN_KEYS = {
    "report": report.KEYS,
    "status": status.KEYS,
    "export": EXPORT_KEYS,
    "clean": ("plan", "cache_days"),
    "verify": ("steps",),
    "init": ("name", "folder"),
    "trial": ("sequence", "measure"),
    "evaluate": ("adapter",),
}
BOOLEAN = ("json", "paper", "merged", "private", "overwrite", "plan")  # among these
GROUPS = ("model", "data", "method", "training", "evaluation", "tracking", "launcher")
GROUPS += ("sweep", "tuned")


def candidates(words: Sequence[str]) -> list[str]:
    """Return the completions of the last of ``words``; the first is a command of ``harness``.

    A completion that ends in '=' or '.' goes on. None are returned where a file name is expected.
    """
    command, *rest = words or [""]
    if not rest:
        from harness.__main__ import COMMANDS

        return sorted(name for name in COMMANDS if name.startswith(command))
    *before, word = rest
    if command == "completion":
        from harness.completion.shells import SCRIPTS

        return sorted(name for name in SCRIPTS if name.startswith(word))
    if "=" in word:
        return _values(command, word)
    keys = [f"{key}=" for key in OWN_KEYS.get(command, ())]
    if command in CONFIGURED:
        keys += _keys(before)
    found = {_next_part(key, word) for key in keys if key.startswith(word)}
    return sorted(found)


def _keys(before: Iterable[str]) -> list[str]:
    """Return every key of the configuration, those of the blocks that are typed ``before``."""
    typed = {key: value.split(",") for key, _, value in (text.partition("=") for text in before)}

    def is_chosen(entry: KeyComment) -> bool:
        group, _, name = entry.choice.partition("=")
        return group not in typed or not name or name in typed[group]

    entries = [entry for entry in key_comments(conf_dir()) if is_chosen(entry)]
    return [f"{group}=" for group in GROUPS] + [f"{entry.key}=" for entry in entries]


def _next_part(key: str, word: str) -> str:
    """Return ``key`` up to the first dot after ``word``, so that sections are completed one by one."""
    dot = key.find(".", len(word))
    return key if dot < 0 else key[: dot + 1]


def _values(command: str, word: str) -> list[str]:
    """Return the completions of a value; of the last of several that are separated by commas."""
    key, _, value = word.partition("=")
    earlier, comma, last = value.rpartition(",")
    known = _known(key) if command in CONFIGURED else []
    if key in BOOLEAN and key in OWN_KEYS.get(command, ()):
        known = ["true", "false"]
    used = earlier.split(",")
    return [
        f"{key}={earlier}{comma}{name}"
        for name in known
        if name.startswith(last) and name not in used
    ]


def _known(key: str) -> Sequence[str]:
    """Return the values that ``key`` may take, where there are only some."""
    if key in GROUPS:
        files = (conf_dir() / key).glob("*.yaml")
        return sorted(file.stem for file in files if not file.stem.startswith("_"))
    return choices(key)
