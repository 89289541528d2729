"""Entry of ``python -m harness.doctor``."""

from __future__ import annotations

import sys

from harness.doctor import main

if __name__ == "__main__":
    sys.exit(main())
