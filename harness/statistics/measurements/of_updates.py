"""Definitions of the measurements of weight updates, and of changes by merging."""

from __future__ import annotations

from harness.statistics.measurements.definition import MetricDefinition

UPDATE_METRICS: dict[str, MetricDefinition] = {
    "relative_norm": MetricDefinition(
        title="relative norm of the update",
        unit="share",
        direction=None,
        definition="Relative norm of the update: ‖θ₁ − θ₀‖ / ‖θ₀‖ over all parameters.",
    ),
    "effective_rank": MetricDefinition(
        title="effective rank",
        unit="directions",
        direction=None,
        definition="Effective rank: exp of the entropy of the normalized singular values of ΔW; the "
        "median over changed matrices.",
    ),
    "stable_rank": MetricDefinition(
        title="stable rank",
        unit="directions",
        direction=None,
        definition="Stable rank: squared Frobenius norm over squared largest singular value of ΔW; the "
        "median over changed matrices.",
    ),
    "amplification": MetricDefinition(
        title="amplification",
        unit="ratio",
        direction=None,
        definition="Amplification: ‖ΔW‖ / ‖UᵀWV‖ in Frobenius norms, U and V the directions of ΔW "
        "(arXiv:2106.09685, §7.3); the median over changed matrices.",
    ),
    "overlap": MetricDefinition(
        title="overlap",
        unit="share",
        direction=None,
        definition="Overlap: φ of the top right singular vectors of ΔW and of W, 0 to 1 "
        "(arXiv:2106.09685, Eq. 4); the median over changed matrices.",
    ),
    "intruders": MetricDefinition(
        title="intruder dimensions",
        unit="directions",
        direction=None,
        definition="Intruder dimensions: the number of top left singular vectors of the tuned weights "
        "that are similar to none of the base's (arXiv:2410.21228), over all changed matrices.",
    ),
    "max_logit_difference": MetricDefinition(
        title="largest logit difference",
        unit="logits",
        direction="minimize",
        definition="Largest logit difference: the largest absolute difference of any logit between the "
        "model as trained and as merged, over the first answers.",
    ),
    "tokens_per_second": MetricDefinition(
        title="generated tokens per second",
        unit="tokens/s",
        direction="maximize",
        definition="Generated tokens per second: tokens of the answers to one batch of prompts, over "
        "the seconds of the fastest of at most three passes.",
    ),
}
