"""``python -m harness.export``: the entry."""

from __future__ import annotations

import sys

from harness.export import main

if __name__ == "__main__":
    sys.exit(main())
