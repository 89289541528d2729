"""Package versions that the tests passed with, compared with those installed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

_PINNED = re.compile(r"^(?:# .*Tested with )?([A-Za-z0-9][\w.-]*)==(\S+)$")


@lru_cache(maxsize=1)
def tested_versions() -> Mapping[str, str]:
    """Return package → version as pinned in constraints.txt, torch included."""
    package = Path(__file__).parents[1]
    inside = package / "constraints.txt"  # in an installed wheel
    file = inside if inside.is_file() else package.parent / "constraints.txt"
    lines = file.read_text(encoding="utf-8").splitlines()
    matches = [match for line in lines if (match := _PINNED.match(line))]
    return {_normalized(match[1]): match[2] for match in matches}


def untested(versions: Mapping[str, str]) -> list[str]:
    """Return entries such as 'peft 0.22.0 (tested: 0.21.2)' where the minor version differs.

    Patch releases count as tested. Packages without a pin are left out.
    """
    tested = tested_versions()
    pairs = [(name, here, tested.get(_normalized(name))) for name, here in versions.items()]
    return [
        f"{name} {here} (tested: {known})"
        for name, here, known in pairs
        if known is not None and _minor(here) != _minor(known)
    ]


def _minor(version: str) -> tuple[str, ...]:
    """Return the first two numbers of a version, without a local suffix such as '+cpu'."""
    return tuple(version.partition("+")[0].split(".")[:2])


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
