"""W&B mirror of the records. A separate process reads a sweep's folder and uploads its content.

The records are authoritative and the mirror is a copy. No trial waits for it, and its errors are
one line at the end of the sweep. Only ``runs.py`` imports wandb, in that process.
"""

from harness.tracking.mirror import Mirror, start_mirror

__all__ = ["Mirror", "start_mirror"]
