"""W&B beside the records: a process of its own reads a sweep's folder and mirrors what lies there.

The records are the truth and the mirror is a copy: no trial waits for it, and whatever goes wrong
in it is one line at the end of the sweep. Only ``runs.py`` imports wandb, in that process.
"""

from harness.tracking.mirror import Mirror, start_mirror

__all__ = ["Mirror", "start_mirror"]
