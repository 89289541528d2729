"""What libraries keep for themselves in a process, measured in one of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PRODUCTS = """
from harness.launch.libraries import import_libraries
import_libraries(1)
import torch
from harness.training.device_memory import resident_gb
weights = torch.ones(256, 64, dtype=torch.bfloat16)
def products(widths):
    for n in widths:
        torch.nn.functional.linear(torch.ones(n, 64, dtype=torch.bfloat16), weights)
products(range(1, 100))
before = resident_gb("cpu")
products(range(100, 400))
print(resident_gb("cpu") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_bf16_products_of_many_shapes_keep_little():
    """Every batch has its own shapes; 300 of them kept 0.17 GB with the library's own limits."""
    ran = subprocess.run(
        [sys.executable, "-c", PRODUCTS], capture_output=True, text=True, check=True
    )
    assert float(ran.stdout) < 0.04
