"""Exit of a process when its parent exits, for any reason."""

from __future__ import annotations

import os
import threading
import time

ORPHAN_SECONDS = 5.0  # time to write a checkpoint after the driver was killed


def exit_with_parent(parent: int, seconds: float = ORPHAN_SECONDS) -> None:
    """Make this process exit ``seconds`` after ``parent`` does, even in the middle of a step."""
    threading.Thread(target=_watch, args=[parent, seconds], daemon=True).start()


def _watch(parent: int, seconds: float) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    time.sleep(seconds)
    os._exit(75)
