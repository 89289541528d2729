"""The command that runs a record's trial again."""

from __future__ import annotations

import shlex

from harness.records import Record


def command(record: Record) -> str | None:
    """Return the command line that runs this trial again, quoted for a shell.

    None for a result of another tool, which no command of this one made.
    """
    if not record.overrides:
        return None
    evaluated = "adapter" in record.config.get("method", {})
    entry = "harness.evaluate" if evaluated else "harness.trial"
    return " ".join([f"python -m {entry}", shlex.join(record.overrides)])
