"""Output of libraries on a user's terminal."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import logging, warnings
from harness.launch.libraries import quiet_libraries
quiet_libraries()
logging.getLogger("bitsandbytes.backends.cpu.ops").warning("no kernels")
logging.getLogger("torch.utils._pytree").warning("an Enum")
there = {"__name__": "transformers.modeling_utils"}
exec("import warnings; warnings.warn('a name', FutureWarning)", there)
logging.getLogger("bitsandbytes").error("a fault")
warnings.warn("ours", FutureWarning)
"""


def test_remarks_of_libraries_stay_off_the_terminal_and_errors_do_not():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert "a fault" in done.stderr and "ours" in done.stderr
    for remark in ("no kernels", "an Enum", "a name"):
        assert remark not in done.stderr
