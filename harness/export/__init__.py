"""Export of a sweep's winner, ready to use: ``python -m harness.export runs/NAME``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from harness.arguments import command_arguments
from harness.errors import InputError, refused_paths
from harness.export.options import HELP, ExportOptions, typed


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 done, 1 not uploaded, 2 invalid input, 75 full disk, 130 stopped."""
    arguments = command_arguments(arguments)
    if {"-h", "--help"} & set(arguments):
        print(HELP)
        return 0
    try:
        with refused_paths():
            return run(typed(arguments))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from harness.records.disk_full import disk_full_message

        said = disk_full_message(error)
        if said is None:
            raise
        print(said, file=sys.stderr)
        return 75


def run(options: ExportOptions) -> int:
    """Export, unless the folder has this export already; then upload if asked. Raises InputError."""
    from harness.export.chosen_trial import choose
    from harness.export.folder import check_free, exported

    choice = choose(options.run, options.trial)
    folder = options.output or Path("exports") / choice.run_name
    if options.push is not None:
        from harness.export.push import check_push

        check_push(options.push)
    print(f"{choice.row.folder}: {choice.why}", flush=True)
    asked = {
        "trial": choice.row.record.fingerprint,
        "merged": options.merged,
        "bits": options.bits,
        "base": options.base,
    }
    done = exported(folder) if folder.is_dir() else None
    if done is not None and done.get("asked") == asked:
        print(f"{folder}: already exported")
    else:
        check_free(folder, options.overwrite)

        from harness.export.write import write

        write(choice, folder, options, asked)
    return 0 if options.push is None else _push(folder, options.push, options.private)


def _push(folder: Path, repository: str, private: bool) -> int:
    from harness.export.push import NotUploaded, push

    try:
        print(f"Uploaded: {push(folder, repository, private)}")
    except NotUploaded as error:
        print(f"{error}\n{folder} is whole: the same command uploads it again.", file=sys.stderr)
        return 1
    return 0
