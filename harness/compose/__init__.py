"""Composition of the command line into checked configuration. The only folder that knows Hydra."""

from harness.compose.command_line import compose_sweep, compose_trial

__all__ = ["compose_sweep", "compose_trial"]
