"""Composition of the command line into checked configuration. The only folder that knows Hydra."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.compose.command_line import compose_sweep, compose_trial

__all__ = ["compose_sweep", "compose_trial"]


def __getattr__(name: str) -> Any:
    """Import the two functions on first use, so that completion does not wait for Hydra."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from harness.compose import command_line

    return getattr(command_line, name)
