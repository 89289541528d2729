"""Keys of the configuration with their defaults and the comments beside them in ``conf/``.

The YAML files are the only place where a key is explained. ``--help KEY`` and docs/configuration.md
read them here.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from harness.compose.aliases import counterparts
from harness.errors import unknown

_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_][\w.]*):(?: +(?P<rest>.*))?$")
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
_SEARCHED = "search.space."


@dataclass(frozen=True)
class KeyComment:
    """One key as its file explains it."""

    key: str  # dotted, as a user types it: 'training.learning_rate'
    default: str  # as written; '' for a key with keys below it
    comment: str  # '' if the file has none
    file: str  # below conf/: 'training/default.yaml'

    @property
    def choice(self) -> str:
        """Return the override that selects this file: 'method=lora'; '' if the file always applies."""
        group, _, name = self.file.removesuffix(".yaml").rpartition("/")
        return "" if not group or name in ("default", "_base") else f"{group}={name}"


def key_comments(conf: Path) -> list[KeyComment]:
    """Return every key of config.yaml and of the building blocks, in the order of the files.

    Presets for one model (tuned/) and named sweeps (sweep/) repeat keys and are left out.
    """
    found = list(_of_file(conf / "config.yaml", conf))
    for folder in sorted(path for path in conf.iterdir() if path.is_dir()):
        if folder.name not in ("tuned", "sweep"):
            for file in sorted(folder.glob("*.yaml")):
                found += _of_file(file, conf)
    return _followed(found)


def _followed(entries: list[KeyComment]) -> list[KeyComment]:
    """Return the entries with the default that a reference, ``${search.rate.default}``, leads to."""
    written = {(e.file, e.key): e.default for e in entries}

    def default(entry: KeyComment) -> str:
        reference = _REFERENCE.fullmatch(entry.default)
        if reference is None:
            return entry.default
        files = (entry.file, "config.yaml")
        found = [written[file, reference[1]] for file in files if (file, reference[1]) in written]
        return found[0] if found else entry.default

    return [replace(entry, default=default(entry)) for entry in entries]


def description(file: Path) -> str:
    """Return the comment at the head of a file, which describes all of it; '' for none."""
    said = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line:
            said.append(line.lstrip("# "))
    return " ".join(said)


def explain_sweep(name: str, conf: Path, own: Path | None) -> str:
    """Return the head of a named sweep's file: its question, command, cost and result.

    It is in ``conf`` or a folder of the user's ``own``. Raises InputError with the nearest names.
    """
    found = [file for folder in (own, conf) if folder for file in folder.glob("sweep/*.yaml")]
    files = {file.stem: file for file in found}
    if name not in files:
        raise unknown("sweep", name, files)
    lines = files[name].read_text(encoding="utf-8").splitlines()
    head = takewhile(lambda line: line.startswith("#"), lines)
    said = [line.removeprefix("#").removeprefix(" ") for line in head if "@package" not in line]
    more = (
        f"sweep={name} --cfg job shows every value of it, plan=true what it would run and how long."
    )
    return "\n".join([*said, "", more])


def explain(key: str, conf: Path) -> str:
    """Return the default and the comment of ``key``, or of every key below it.

    Building blocks that set another value follow, and the range in which each method searches it.
    Raises InputError with the nearest names for a key that does not exist.
    """
    entries = key_comments(conf)
    known = list(dict.fromkeys(e.key for e in entries if not e.key.startswith(_SEARCHED)))
    below = [name for name in known if name.startswith(f"{key}.")]
    if key not in known and not below:
        groups = {name.split(".")[0] for name in known}
        raise unknown("key", key, known, groups, counterparts(key, known))
    return "\n\n".join(_explained(name, entries) for name in (below or [key]))


def _explained(key: str, entries: list[KeyComment]) -> str:
    own = sorted((e for e in entries if e.key == key), key=lambda e: e.choice != "")
    searched = {e.choice: e.default for e in entries if e.key == _SEARCHED + key}
    first = own[0]
    lines = [f"{key}={first.default}" + (f"  ({first.choice})" if first.choice else "")]
    comments = [first.comment] if not first.choice else [e.comment for e in own if e.comment]
    lines += textwrap.wrap("".join(comments[:1]), 96, initial_indent="  ", subsequent_indent="  ")
    defaults = {e.choice: e.default for e in own}
    for choice in sorted({*defaults, *searched} - {""}):
        values = [defaults[choice]] if defaults.get(choice, first.default) != first.default else []
        if searched.get(choice, "null") != "null":
            values.append(f"searched in {searched[choice]}")
        if values:
            lines.append(f"  {choice + ':':<26}{', '.join(values)}")
    return "\n".join(lines)


def _of_file(file: Path, conf: Path) -> Iterator[KeyComment]:
    lines = file.read_text(encoding="utf-8").splitlines()
    group = "" if file.parent == conf or "@package _global_" in lines[0] else file.parent.name
    while lines and lines[0].startswith("#"):  # the head describes the file
        del lines[0]
    path: list[tuple[int, str]] = []
    above: list[str] = []  # comment lines right above the next key
    entry: KeyComment | None = None
    for line in lines:
        text = line.strip()
        if text.startswith("#"):
            if entry is not None and len(line) - len(text) > path[-1][0]:
                said = f"{entry.comment} {text.lstrip('# ')}".strip()  # continues below its key
                entry = replace(entry, comment=said)
            else:
                above.append(text)
            continue
        match = _KEY.match(line)
        if not match:
            above = []
            continue
        if entry is not None:
            yield entry
        indent = len(match["indent"])
        path = [(at, key) for at, key in path if at < indent]
        path.append((indent, match["key"]))
        default, comment = _split(match["rest"] or "")
        said = " ".join(part.lstrip("# ") for part in (*above, comment) if part)
        dotted = ".".join([*([group] if group else []), *(key for _, key in path)])
        internal = path[0][1] in ("defaults", "hydra")
        entry = None if internal else KeyComment(dotted, default, said, str(file.relative_to(conf)))
        above = []
    if entry is not None:
        yield entry


def _split(rest: str) -> tuple[str, str]:
    """Return a value and the comment after it. A '#' inside quotes belongs to the value."""
    quote = ""
    for at, character in enumerate(rest):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "#" and (at == 0 or rest[at - 1] == " "):
            return rest[:at].strip(), rest[at:]
    return rest.strip(), ""
