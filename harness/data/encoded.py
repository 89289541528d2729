"""Former name of ``harness.data.tokens.encoded``, kept for scripts that import it."""

from harness.data.tokens.encoded import Encoded

__all__ = ["Encoded"]
