"""Checks of Python, packages, devices, and of bitsandbytes on them."""

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
    Line,
    Setup,
    existing,
    tried,
    version_of,
)
from harness.methods import PROBLEMS
from harness.paths import user_path
from harness.records.provenance import PACKAGES
from harness.records.versions import untested

LEAST_DISK_GB, LEAST_MEMORY_GB = 1.0, 1.0

# Without these most configurations run; which of them one configuration needs, its Setup says.
OPTIONAL = ("wandb", "bitsandbytes", "lm-eval", "evaluate", "scikit-learn")


def check_python(setup: Setup) -> Iterator[Line]:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    floor, wanted = _declared()
    found = ".".join(map(str, sys.version_info[:3]))
    yield Line("python", OK if found in SpecifierSet(floor) else FAIL, f"{found} (needs {floor})")
    requirements = [
        requirement for requirement in map(Requirement, wanted) if not requirement.marker
    ]
    bad = 0
    for requirement in requirements:
        try:
            version = metadata.version(requirement.name)
            if requirement.specifier.contains(version, prereleases=True):
                continue
            fact = f"{version} is installed, {requirement.specifier} is needed"
        except metadata.PackageNotFoundError:
            fact = f"not installed, {requirement.specifier} is needed"
        optional = requirement.name in OPTIONAL and requirement.name not in setup.packages
        bad += 1
        yield Line(requirement.name, WARN if optional else FAIL, fact)
    shown = ", ".join(f"{n} {version_of(n)}" for n in ("torch", "transformers", "peft"))
    good = f"{len(requirements) - bad} of {len(requirements)} are as pyproject.toml asks ({shown})"
    yield Line("packages", OK if not bad else WARN, good)
    others = untested({name: version_of(name) for name in PACKAGES if version_of(name) != MISSING})
    fact = "; ".join(others) if others else "each as the tests passed with it (constraints.txt)"
    yield Line("versions", WARN if others else OK, fact)
    for name, problem in PROBLEMS.items():
        yield Line(f"method {name}", WARN, problem)


def check_devices(setup: Setup) -> Iterator[Line]:
    import torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    total, free = _memory()
    status = WARN if free is not None and free < LEAST_MEMORY_GB else OK
    memory = (
        "memory unknown" if total is None else f"{total:.1f} GB memory, {free:.1f} GB available"
    )
    yield Line("cpu", status, f"{usable} cores, {memory}")
    disk = shutil.disk_usage(existing(user_path(setup.sweep.runs_dir))).free / 1e9
    fact = f"{disk:.1f} GB free for runs_dir={setup.sweep.runs_dir}"
    yield Line("disk", OK if disk >= LEAST_DISK_GB else WARN, fact)
    from harness.training.precision.autocast import has_bfloat16

    precision, seen = {trial.training.precision for trial in setup.trials}, 0
    if torch.cuda.is_available():
        seen = torch.cuda.device_count()
    for index in range(seen):
        about = torch.cuda.get_device_properties(index)
        has_bf16 = has_bfloat16(f"cuda:{index}")
        fact = (
            f"{about.name}, {about.total_memory / 1e9:.1f} GB, bf16 {'yes' if has_bf16 else 'no'}"
        )
        yield Line(f"gpu {index}", OK if has_bf16 or "bf16" not in precision else FAIL, fact)
    if not seen:
        from harness.launch.local import visible_devices

        listed = visible_devices()
        fact = f"torch {torch.__version__} sees none of the GPUs {listed}" if listed else "none"
        yield Line("gpu", WARN if listed else OK, f"{fact}: trials run on the CPU")
        if "fp16" in precision:
            yield Line("precision", FAIL, "training.precision=fp16 needs a GPU: use bf16 or no")


def check_quantization(setup: Setup) -> Iterator[Line]:
    """Quantize a tensor, because a backend may claim more than it runs."""
    for kind in ("nf4", "fp4", "int8"):
        needed = kind in setup.quantizations
        yield tried(kind, needed, lambda kind=kind: _quantized_linear(kind, setup))
    for scheme in setup.first.evaluation.quantization:
        yield tried(f"ptq {scheme}", True, lambda scheme=scheme: _afterwards(scheme, setup))
    for name in ("adamw_8bit", "paged_adamw_8bit"):
        needed = bool(setup.optimizers & {name, name.removesuffix("_8bit")})
        yield tried(name, needed, lambda name=name: _optimizer_step(name, setup))


def _quantized_linear(kind: str, setup: Setup) -> str:
    import torch
    from bitsandbytes import nn

    torch.manual_seed(0)
    if kind == "int8":
        layer = nn.Linear8bitLt(64, 64, bias=False, has_fp16_weights=False)
    else:
        layer = nn.Linear4bit(64, 64, bias=False, quant_type=kind, compute_dtype=torch.float32)
    whole = layer.weight.detach().clone()
    layer = layer.to(setup.device)
    stored = layer.weight.dtype
    inputs = torch.randn(4, 64, device=setup.device, requires_grad=True)
    output = layer(inputs)
    output.float().square().mean().backward()
    if stored not in (torch.uint8, torch.int8):
        raise RuntimeError(f"the weights are {stored} afterwards")
    if inputs.grad is None or not inputs.grad.isfinite().all() or not inputs.grad.any():
        raise RuntimeError("no gradient came back")
    exact = inputs.detach().cpu() @ whole.T
    error = float((output.detach().float().cpu() - exact).norm() / exact.norm())
    if error > 0.5:
        raise RuntimeError(f"the output is {100 * error:.0f} % off")
    return f"quantizes, forward and backward run on {setup.device} ({100 * error:.1f} % error)"


def _afterwards(scheme: str, setup: Setup) -> str:
    from harness.afterwards import check_schemes
    from harness.models.load import load_skeleton

    check_schemes([scheme], load_skeleton(setup.first.model), setup.device)
    return f"quantizes a tuned model on {setup.device}, and it runs"


def _optimizer_step(name: str, setup: Setup) -> str:
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
    """Return (Python, packages) required by pyproject.toml or by the installed package."""
    import tomllib

    file = Path(__file__).parents[2] / "pyproject.toml"
    if file.is_file():
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        return project["requires-python"], project["dependencies"]
    about = metadata.metadata("finetune-harness")
    return about["Requires-Python"], metadata.requires("finetune-harness") or []


def _memory() -> tuple[float, float] | tuple[None, None]:
    """Return (total, available) in GB, from /proc."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None, None
    found = {k: float(v) * 1024 / 1e9 for k, v in re.findall(r"(\w+):\s+(\d+) kB", text)}
    return found["MemTotal"], found["MemAvailable"]
