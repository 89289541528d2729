"""Write a sweep configuration as commented YAML: ``python -m harness.init faq.csv model=hub ...``."""

from __future__ import annotations

import errno
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.arguments import command_arguments
from harness.config.strict import require
from harness.errors import InputError, refused_paths

USAGE = """\
Write a sweep of your own as a commented YAML, from a data file and what you type.

  python -m harness.init faq.csv
  python -m harness.init faq.csv model=hub model.name=Qwen/Qwen3-0.6B method=full,lora,qlora
  python -m harness.init data=hub data.name=squad method=lora name=squad folder=my_sweeps

The file is FOLDER/sweep/NAME.yaml. folder= is my_sweeps by default, name= the name of the data file.
It holds what was typed, what follows from the data, and the settings that are changed most often,
each with its comment. Any override of the sweep can be typed.

exit codes: 0 done, 2 wrong input"""

# The settings changed most often, in the order of the written file.
SHOWN = (
    *("objectives", "limits.peak_memory_gb", "limits.forgetting", "limits.minutes"),
    *("data.general", "data.validation_fraction", "data.max_length"),
    *("training.epochs", "training.max_steps", "training.batch_size"),
    *("search.trials", "confirm.finalists", "confirm.seeds", "confirm.margin"),
    *("evaluation.metrics", "evaluation.tasks", "launcher.workers"),
)
WIDTH = 100
_OWN = {"name": "the name of a sweep", "folder": "the path of a folder"}  # keys of this command


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 done, 2 invalid input."""
    arguments = command_arguments(arguments)
    if not arguments or {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    try:
        with refused_paths(errno.ENOENT):
            file, command = write_sweep(arguments)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{file} is written. Read it, change it, then:\n  {command} plan=true\n  {command}")
    return 0


def write_sweep(arguments: Sequence[str]) -> tuple[Path, str]:
    """Write the file that ``arguments`` describe and return it, with the command that runs it.

    Raises InputError for arguments that make no valid sweep, and if the file exists.
    """
    from harness.compose import override_grammar
    from harness.compose.command_line import compose_from_data
    from harness.compose.folders import conf_dir
    from harness.compose.key_comments import key_comments
    from harness.compose.keys import checked_name

    typed, own = _sorted(arguments)
    sweep, plans, taken = compose_from_data(typed)
    name = checked_name(own.get("name") or _stem(typed) or sweep.name)
    folder = Path(own.get("folder", "my_sweeps"))
    file = folder / "sweep" / f"{name}.yaml"
    if file.exists():
        raise InputError(
            f"{file} exists already. Give this one another name=, or delete that file."
        )
    command = f"python -m harness.sweep --config-dir={folder} sweep={name}"

    groups: dict[str, str] = {}
    values: dict[str, Any] = {}
    space: dict[str, str] = {}
    for override in map(override_grammar.parse, [*typed, *taken]):
        key = override.key_or_group
        if key == "method":
            continue  # written below as the list of methods
        if override_grammar.is_group(override):
            groups[key] = str(override.value())
        elif override_grammar.is_swept(override):
            space[key] = str(override_grammar.dimension(override))
        else:
            values[key] = override.value()
    if space:
        values["search.space"] = space
    values["objectives"] = dict(sweep.objectives)
    for key in SHOWN:
        values.setdefault(key, _at(plans[0].tree, key))
    lines = _head(name or "", plans[0].trial({}).model.name, command, groups)
    lines.append(f"methods: [{', '.join(plan.method for plan in plans)}]")
    comments = {entry.key: entry.comment for entry in reversed(key_comments(conf_dir()))}
    lines += _body(values, comments)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    compose_from_data([f"--config-dir={folder}", f"sweep={name}"])  # check that it composes
    return file, command


def _sorted(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Separate overrides of the sweep from this command's own; a bare file is the training data."""
    from harness.data.rows.files.sources import SOURCE_OF_SUFFIX

    typed: list[str] = []
    files: list[str] = []
    own: dict[str, str] = {}
    for text in arguments:
        key, equals, value = text.partition("=")
        if equals and key in _OWN:
            require(value.strip() != "", key, value, _OWN[key])
            own[key] = value
        elif not equals and (Path(text).is_file() or Path(text).suffix in SOURCE_OF_SUFFIX):
            files.append(text)
        else:
            typed.append(text)
    if len(files) > 1:
        raise InputError(
            f"{' '.join(files)} cannot be used: name one data file, or several as a list: "
            f"'data.train=[{','.join(files)}]'"
        )
    return [*(f"data.train={file}" for file in files), *typed], own


def _stem(typed: Sequence[str]) -> str | None:
    """Return a sweep name derived from the training file, restricted to allowed characters."""
    trains = [text.partition("=")[2] for text in typed if text.startswith("data.train=")]
    stem = Path(trains[0]).stem if trains else ""
    kept = "".join(
        letter for letter in stem if letter.isascii() and (letter.isalnum() or letter in "-_")
    )
    return kept.lstrip("-_") or None


def _at(tree: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key of a composed tree."""
    found: Any = tree
    for part in key.split("."):
        found = found[part]
    return found


def _head(name: str, model: str, command: str, groups: Mapping[str, str]) -> list[str]:
    lines = [
        "# @package _global_",
        f"# Question: which method should {model} be tuned with on {name}, and what does it forget?",
        f"# Command:  {command}",
        "# Cost:     plan=true says what would run, how long it takes and how much memory it needs.",
    ]
    if groups:
        lines += [
            "defaults:",
            *(f"  - override /{group}: {value}" for group, value in groups.items()),
        ]
    return lines


def _body(values: Mapping[str, Any], comments: Mapping[str, str]) -> list[str]:
    """Return nested YAML lines of dotted ``values``, each with its comment."""
    lines: list[str] = []
    tops = dict.fromkeys(key.split(".")[0] for key in values)
    for top in tops:
        keys = [key for key in values if key.split(".")[0] == top]
        nested = keys != [top]
        lines += ["", f"{top}:"] if nested else [""]
        for key in keys:
            inner = "  " if nested else ""
            lines += _entry(inner, key.partition(".")[2] or top, values[key], comments.get(key, ""))
    return lines


def _entry(indent: str, key: str, value: Any, comment: str) -> list[str]:
    import yaml

    if key == "space":
        ranges = [f'{indent}  {name}: "{written}"' for name, written in value.items()]
        return [f"{indent}space: # searched, for every method", *ranges]
    dumped = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, width=10**6, sort_keys=False
    )
    line = f"{indent}{key}: {dumped.removesuffix('...' + chr(10)).strip()}"
    if not comment or len(line) + len(comment) + 3 <= WIDTH:
        return [f"{line} # {comment}" if comment else line]
    above = textwrap.wrap(comment, WIDTH - len(indent) - 2)
    return [*(f"{indent}# {text}" for text in above), line]


if __name__ == "__main__":
    sys.exit(main())
