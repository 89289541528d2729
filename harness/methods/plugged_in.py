"""Methods of other installed packages, which register their classes in an entry point.

The user installs such a package, so its code is trusted like that of any library. No configuration,
data file or model can cause an import.
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
    """Methods of other packages: usable classes, and the problems of the others."""

    classes: dict[str, type[Method]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)  # name → message for the user


def plugged_in(builtin: Collection[str]) -> PluggedIn:
    """Import the methods of other installed packages, in order of their names.

    A method has a problem if its import fails, if it is not a dataclass derived from ``Method``, or
    if its name is taken by a ``builtin`` method or another package.
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
    """Return the class of an entry point, or the reason why it cannot be used."""
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
    """Return the message for a method that cannot be used."""
    package = point.dist.name if point.dist is not None else "an installed package"
    return (
        f"Method {point.name!r} of {package} ({point.value}) cannot be used: {problem}. "
        "Mend the package or uninstall it."
    )
