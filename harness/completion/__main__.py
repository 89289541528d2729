"""Entry of ``python -m harness.completion``."""

from __future__ import annotations

import sys

from harness.completion import main

if __name__ == "__main__":
    sys.exit(main())
