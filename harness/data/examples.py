"""Former name of ``harness.data.rows.splits``, kept for scripts that import it."""

from harness.data.rows.splits import Splits, read_splits

__all__ = ["Splits", "read_splits"]
