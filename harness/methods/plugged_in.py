"""Methods of other packages: installed classes that name themselves in an entry point.

A package is installed by the user, so its code is trusted as any other library's. Nothing is loaded
because a configuration, a data file or a model names it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, is_dataclass
from importlib.metadata import EntryPoint, entry_points

from harness.errors import sentence
from harness.methods.base import Method

__all__ = ["PluggedIn", "plugged_in"]

GROUP = "harness.methods"


@dataclass
class PluggedIn:
    """Installed methods of other packages: those that can be used, and why the others cannot."""

    classes: dict[str, type[Method]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)  # name → a sentence for the user


def plugged_in(builtin: Collection[str]) -> PluggedIn:
    """Import the installed methods of other packages, in the order of their names.

    One cannot be used if its import fails, if it is no dataclass derived from ``Method``, or if it
    has the name of a ``builtin`` method or of another package's.
    """
    found = PluggedIn()
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        loaded = _loaded(point, {*builtin, *found.classes})
        if isinstance(loaded, str):
            found.problems[point.name] = _sentence(point, loaded)
        else:
            found.classes[point.name] = loaded
    return found


def _loaded(point: EntryPoint, taken: Collection[str]) -> type[Method] | str:
    """Return the class that ``point`` names, or why it cannot be used."""
    if point.name in taken:
        return "there is another method of that name"
    try:
        loaded = point.load()
    except Exception as error:  # the module's own code may raise anything
        return sentence(error).rstrip(".")
    if isinstance(loaded, type) and issubclass(loaded, Method) and is_dataclass(loaded):
        return loaded
    return "it is no dataclass derived from harness.methods.Method"


def _sentence(point: EntryPoint, problem: str) -> str:
    package = point.dist.name if point.dist is not None else "an installed package"
    return (
        f"Method {point.name!r} of {package} ({point.value}) cannot be used: {problem}. "
        "Mend the package or uninstall it."
    )
