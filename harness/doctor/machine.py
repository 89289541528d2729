"""Checks of Python, packages and devices, and of quantization on them."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from harness.doctor.finding import (
    FAIL,
    MISSING,
    OK,
    WARN,
    Finding,
    Setup,
    attempt_finding,
    existing,
    version_of,
)
from harness.methods import PROBLEMS
from harness.paths import user_path
from harness.records.provenance import PACKAGES
from harness.records.versions import untested

LEAST_DISK_GB, LEAST_MEMORY_GB = 1.0, 1.0

# Packages that most configurations do not need. Setup.packages are those that one does need.
OPTIONAL = ("wandb", "bitsandbytes", "lm-eval", "evaluate", "scikit-learn")


def check_python(setup: Setup) -> Iterator[Finding]:
    """Check versions of Python and packages, and methods of installed packages."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    python_range, declared = _declared()
    version_here = ".".join(map(str, sys.version_info[:3]))
    yield Finding(
        "python",
        OK if version_here in SpecifierSet(python_range) else FAIL,
        f"{version_here} (needs {python_range})",
    )
    requirements = [
        requirement for requirement in map(Requirement, declared) if not requirement.marker
    ]
    n_unmet = 0
    for requirement in requirements:
        try:
            version = metadata.version(requirement.name)
            if requirement.specifier.contains(version, prereleases=True):
                continue
            fact = f"{version} is installed, {requirement.specifier} is needed"
        except metadata.PackageNotFoundError:
            fact = f"not installed, {requirement.specifier} is needed"
        optional = requirement.name in OPTIONAL and requirement.name not in setup.packages
        n_unmet += 1
        yield Finding(requirement.name, WARN if optional else FAIL, fact)
    main_versions = ", ".join(f"{n} {version_of(n)}" for n in ("torch", "transformers", "peft"))
    n = len(requirements)
    met = f"{n - n_unmet} of {n} are as pyproject.toml requires ({main_versions})"
    yield Finding("packages", OK if not n_unmet else WARN, met)
    untested_versions = untested(
        {name: version_of(name) for name in PACKAGES if version_of(name) != MISSING}
    )
    fact = "; ".join(untested_versions) if untested_versions else "as tested (constraints.txt)"
    yield Finding("versions", WARN if untested_versions else OK, fact)
    for name, problem in PROBLEMS.items():
        yield Finding(f"method {name}", WARN, problem)


def check_devices(setup: Setup) -> Iterator[Finding]:
    """Check cores, memory, disk and GPUs against the configured precision."""
    import torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    total, free = _memory()
    status = WARN if free is not None and free < LEAST_MEMORY_GB else OK
    memory = (
        "memory unknown" if total is None else f"{total:.1f} GB memory, {free:.1f} GB available"
    )
    yield Finding("cpu", status, f"{usable} cores, {memory}")
    disk = shutil.disk_usage(existing(user_path(setup.sweep.runs_dir))).free / 1e9
    fact = f"{disk:.1f} GB free for runs_dir={setup.sweep.runs_dir}"
    yield Finding("disk", OK if disk >= LEAST_DISK_GB else WARN, fact)
    from harness.training.precision.autocast import has_bfloat16

    precision, n_gpus = {trial.training.precision for trial in setup.trials}, 0
    if torch.cuda.is_available():
        n_gpus = torch.cuda.device_count()
    for index in range(n_gpus):
        properties = torch.cuda.get_device_properties(index)
        has_bf16 = has_bfloat16(f"cuda:{index}")
        fact = (
            f"{properties.name}, {properties.total_memory / 1e9:.1f} GB, bf16 "
            f"{'yes' if has_bf16 else 'no'}"
        )
        yield Finding(f"gpu {index}", OK if has_bf16 or "bf16" not in precision else FAIL, fact)
    if not n_gpus:
        from harness.launch.host import visible_devices

        listed = visible_devices()
        fact = f"torch {torch.__version__} sees none of the GPUs {listed}" if listed else "none"
        yield Finding("gpu", WARN if listed else OK, f"{fact}: trials run on the CPU")
        if "fp16" in precision:
            yield Finding("precision", FAIL, "training.precision=fp16 needs a GPU: use bf16 or no")


def check_quantization(setup: Setup) -> Iterator[Finding]:
    """Run each quantization and optimizer on a small tensor, as installed backends may fail."""
    for kind in ("nf4", "fp4", "int8"):
        needed = kind in setup.quantizations
        yield attempt_finding(kind, needed, lambda kind=kind: _quantized_linear(kind, setup))
    for scheme in setup.first.evaluation.quantization:
        yield attempt_finding(
            f"ptq {scheme}", True, lambda scheme=scheme: _afterwards(scheme, setup)
        )
    for name in ("adamw_8bit", "paged_adamw_8bit"):
        needed = bool(setup.optimizers & {name, name.removesuffix("_8bit")})
        yield attempt_finding(name, needed, lambda name=name: _optimizer_step(name, setup))


def _quantized_linear(kind: str, setup: Setup) -> str:
    """Run a forward and a backward pass of a quantized layer and describe its error.

    Raises RuntimeError if the result is wrong.
    """
    import torch
    from bitsandbytes import nn

    torch.manual_seed(0)
    if kind == "int8":
        layer = nn.Linear8bitLt(64, 64, bias=False, has_fp16_weights=False)
    else:
        layer = nn.Linear4bit(64, 64, bias=False, quant_type=kind, compute_dtype=torch.float32)
    weights = layer.weight.detach().clone()
    layer = layer.to(setup.device)
    stored = layer.weight.dtype
    inputs = torch.randn(4, 64, device=setup.device, requires_grad=True)
    output = layer(inputs)
    output.float().square().mean().backward()
    if stored not in (torch.uint8, torch.int8):
        raise RuntimeError(f"the weights are {stored} afterwards")
    if inputs.grad is None or not inputs.grad.isfinite().all() or not inputs.grad.any():
        raise RuntimeError("no gradient came back")
    exact = inputs.detach().cpu() @ weights.T
    error = float((output.detach().float().cpu() - exact).norm() / exact.norm())
    if error > 0.5:
        raise RuntimeError(f"the output is {100 * error:.0f} % off")
    return f"quantizes, forward and backward run on {setup.device} ({100 * error:.1f} % error)"


def _afterwards(scheme: str, setup: Setup) -> str:
    """Quantize the model as after training and describe the result."""
    from harness.afterwards import check_schemes
    from harness.models.loading.skeleton import load_skeleton

    check_schemes([scheme], load_skeleton(setup.first.model), setup.device)
    return f"quantizes a tuned model on {setup.device}, and it runs"


def _optimizer_step(name: str, setup: Setup) -> str:
    """Run one step of an 8-bit optimizer and describe it. Raises RuntimeError if nothing changes."""
    from dataclasses import replace

    import torch

    from harness.training.optimizers import build_optimizer

    weight = torch.nn.Parameter(torch.ones(128, 64, device=setup.device))
    config = replace(setup.first.training, optimizer=name, learning_rate=0.1)
    groups = [{"params": [weight], "lr": 0.1}]
    optimizer, warnings = build_optimizer(config, groups, setup.device.split(":")[0])
    weight.square().sum().backward()
    optimizer.step()
    if not (weight < 1).all():
        raise RuntimeError("a step changes nothing")
    return f"a step runs on {setup.device}" + "".join(f"; {text}" for text in warnings)


def _declared() -> tuple[str, list[str]]:
    """Return the Python range and the requirements, from pyproject.toml or the installed package."""
    import tomllib

    file = Path(__file__).parents[2] / "pyproject.toml"
    if file.is_file():
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        return project["requires-python"], project["dependencies"]
    package = metadata.metadata("finetune-harness")
    return package["Requires-Python"], metadata.requires("finetune-harness") or []


def _memory() -> tuple[float, float] | tuple[None, None]:
    """Return (total, available) memory in GB (1e9 bytes) from /proc, or (None, None)."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None, None
    found = {k: float(v) * 1024 / 1e9 for k, v in re.findall(r"(\w+):\s+(\d+) kB", text)}
    return found["MemTotal"], found["MemAvailable"]
