"""Former name of ``harness.data.tokens.encode``, kept for scripts that import it."""

from harness.data.tokens.encode import encode

__all__ = ["encode"]
