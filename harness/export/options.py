"""Arguments of the export command."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.arguments import is_true, separated
from harness.errors import InputError
from harness.paths import user_path

USAGE = "python -m harness.export runs/NAME [TRIAL] [key=value ...]"
HELP = f"""\
Write the model of a sweep's recommendation into a folder, ready to use, with a model card.

  {USAGE}
  python -m harness.export runs/NAME merged=true bits=4
  python -m harness.export runs/NAME 3f9c1a push=USER/NAME

TRIAL is a fingerprint under runs/NAME/trials, its beginning, or the trial's folder. Without it, the
recommended configuration is exported: of its seeds the one that was best on validation texts.

  output=FOLDER     where the export goes (exports/NAME)
  merged=true       also write the adapter merged into its base, and measure that again
  bits=4            also measure the merged model with 4-bit weights (nf4); includes merged=true
  base=OWNER/NAME   what the base is called on the hub, if it was read from a local folder
  push=USER/NAME    upload the export to the hub (HF_TOKEN, HF_ENDPOINT)
  private=false     make the uploaded repository public; it is private otherwise
  overwrite=true    replace another export in the same folder

The folder holds the adapter in peft's format or the whole model, tokenizer, README.md (the card),
load.py and export.json. The same command again changes nothing, and uploads if push= is given.

exit codes: 0 done, 1 the hub did not take it, 2 wrong input, 75 the disk is full, 130 stopped"""
KEYS = ("output", "merged", "bits", "base", "push", "private", "overwrite")
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class ExportOptions:
    """Arguments as typed, checked one by one."""

    run: Path
    trial: str | None = None
    output: Path | None = None
    merged: bool = False
    bits: int | None = None
    base: str | None = None
    push: str | None = None
    private: bool = True
    overwrite: bool = False


def typed(arguments: Sequence[str]) -> ExportOptions:
    """Return the options. Raises InputError for a key or value that is not known."""
    places, values = separated(arguments, KEYS)
    if not 1 <= len(places) <= 2:
        raise InputError(f"The folder of a sweep is needed, and at most one trial: {USAGE}")
    bits = values.get("bits")
    if bits not in (None, "4"):
        raise InputError(f"bits={bits!r} cannot be used: it must be 4.")
    for key in ("base", "push"):
        name = values.get(key)
        if name is not None and (REPOSITORY.fullmatch(name) is None or len(name) > 96):
            raise InputError(f"{key}={name!r} cannot be used: it must be a hub name, OWNER/NAME.")
    if values.get("output") == "":
        raise InputError("output='' cannot be used: it must be a folder.")
    return ExportOptions(
        run=user_path(places[0]),
        trial=places[1] if len(places) == 2 else None,
        output=user_path(values["output"]) if "output" in values else None,
        merged=is_true(values, "merged") or bits is not None,
        bits=None if bits is None else int(bits),
        base=values.get("base"),
        push=values.get("push"),
        private=is_true(values, "private", default=True),
        overwrite=is_true(values, "overwrite"),
    )
