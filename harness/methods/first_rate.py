"""The published rule for the learning rate to begin with, by the model's family and width.

Schulman et al. 2025, "LoRA Without Regret", with the constants of their tinker-cookbook
(``hyperparam_utils.get_lr``)::

    rate = 5e-5 · m · (2000 / width)^p        m = 1 for full fine-tuning, 10 for LoRA

They swept Llama and Qwen models at α = 32 and the scale α/r, with which the best rate hardly depends
on the rank; ``method=lora`` has that scale at its own rank, 16. Runs below about 100 steps liked 15
rather than 10. No such rule is published for other families or methods: those begin at their default.
"""

from __future__ import annotations

from harness.models.loading.architecture import Architecture

FACTORS = {"full": 1.0, "lora": 10.0}  # m
EXPONENTS = {"llama": 0.781, "qwen": 0.0775}  # p
# Fitted from 2048 to 8192. Down to 64 it was measured against the defaults, which are for models of
# billions of parameters, and was better: python -m bench.first_rates.
WIDTHS = (64, 8192)


def published_rate(rule: str, of: Architecture) -> float | None:
    """Return the rate by the rule ``full`` or ``lora``; None where the rule does not hold."""
    exponent = _exponent(of)
    if exponent is None or not WIDTHS[0] <= of.width <= WIDTHS[1]:
        return None
    return 5e-5 * FACTORS[rule] * (2000 / of.width) ** exponent


def in_words(rule: str, of: Architecture) -> str:
    """Return the rule with a model's numbers: '5e-5 × 10 × (2000/4096)^0.781'."""
    factor = "" if FACTORS[rule] == 1 else f"{FACTORS[rule]:g} × "
    return f"5e-5 × {factor}(2000/{of.width})^{_exponent(of)}"


def _exponent(of: Architecture) -> float | None:
    return next((p for family, p in EXPONENTS.items() if of.family.startswith(family)), None)
