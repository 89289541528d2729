"""Training objective: the loss of a step, and penalties that keep the model close to its base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.config import RetentionConfig, TrainingConfig
from harness.data.tokens.batches import Batch, BatchPlan, Stream, longest_first, longest_kept
from harness.data.tokens.encode import Encoded
from harness.models.logprobs import LogProbs, base_logprobs
from harness.models.weights.master_weights import computing
from harness.training.anchor import Anchor, diagonal_fisher

if TYPE_CHECKING:
    from torch import Tensor, nn


ALL = slice(None)
OFF = RetentionConfig(0.0, 0.0, "replay", 1, 0.0, 0.0, 1)  # a loss without penalties


@dataclass(frozen=True)
class BaseLogProbs:
    """Log-probabilities of the base at the label tokens of some sequences."""

    log_probs: LogProbs
    first_row: dict[int, int]  # sequence index → row of its first label in log_probs

    def divergence(
        self, logits: Tensor, data: Encoded, indices: Sequence[int], rows: slice = ALL
    ) -> Tensor:
        """Return (K,) KL(base ‖ model) in nats at the K label tokens of ``indices``, in batch order.

        ``logits`` is (K, vocabulary). ``rows`` selects K of the labels if logits were computed for
        a part of them.
        """
        import torch

        n_labels = data.n_labels
        starts = [self.first_row[index] for index in indices]
        row_ranges = [
            np.arange(start, start + n_labels[i]) for start, i in zip(starts, indices, strict=True)
        ]
        chosen = torch.from_numpy(np.concatenate(row_ranges)[rows])
        return self.log_probs.rows(chosen).divergence(logits, 0)


@dataclass(frozen=True)
class StepPart:
    """Sequences of one step that come from one data set, with their weights in the loss."""

    name: str  # key of their mean NLL in metrics.jsonl
    data: Encoded
    indices: list[int]
    nll_weight: float = 1.0  # weight of the mean NLL over their label tokens
    kl_weight: float = 0.0  # weight of the mean KL(base ‖ model) over the same tokens
    base: BaseLogProbs | None = None
    is_target: bool = False  # False for replay text
    longest: int | None = None  # tokens; longer sequences lose tokens at their start


def mean_nll(
    logits: Tensor,
    batch: Batch,
    n_labels: int,
    n_sequences: int,
    config: TrainingConfig,
    rows: slice = ALL,
) -> Tensor:
    """Return the contribution of ``batch`` to the mean NLL of its step, in nats, as a scalar.

    The step has ``n_labels`` label tokens in ``n_sequences`` sequences. ``logits`` is (K,
    vocabulary) at the labels selected by ``rows``. With ``loss_average=token`` every label weighs
    1/n_labels. With ``sequence`` each of the k labels of a sequence weighs 1/(k·n_sequences).
    """
    import torch

    by_token = config.loss_average == "token"
    nll = torch.nn.functional.cross_entropy(
        logits.float(),
        batch.targets[rows],
        reduction="sum" if by_token else "none",
        label_smoothing=config.label_smoothing,
    )
    if by_token:
        return nll / n_labels
    # Not bincount, which waits for the device.
    k = batch.rows.new_zeros(len(batch.input_ids))
    k = k.index_add(0, batch.rows, torch.ones_like(batch.rows))
    return (nll / (k[batch.rows[rows]] * n_sequences)).sum()


class Criterion:
    """Objective of a run as a function of the step.

    Without penalties it is the mean NLL over the label tokens of the step's sequences. In general,

        L = (1 − s)·NLL(target) + s·NLL(replay) + λ·KL(base ‖ model) + ½ Σ_i (α + β·F_i)(θ_i − θ⁰_i)²

    Each mean is over the label tokens of its own sequences, so that long replay documents do not
    outweigh short answers. With ``loss_average: sequence`` NLL is a mean over sequences. s is the
    share of replay text among the step's sequences. KL is computed on the target's sequences or on
    the replay sequences. If s is 0, ``kl_sequences`` replay sequences are added for it.

    The base's log-probabilities are computed once, so no second model is held in memory. They are
    those of the quantized model if the base is quantized. The base's inputs are not augmented.

    Quantities that depend on the base (log-probabilities, θ⁰, F) are not in checkpoints. A resumed
    run computes them again from the same base and seed. A stage before the task
    (Method.first_stage) is trained without penalties. In a run with one, KL refers to the base and
    θ⁰ is the result of the stage.
    """

    def __init__(
        self,
        data: Encoded,
        training: TrainingConfig,
        seed: int,
        retention: RetentionConfig = OFF,
        replay: Encoded | None = None,
        padding_quantile: float = 1.0,
    ) -> None:
        """``replay`` is general text, required if ``retention.looks_back``.

        Sequences longer than the quantile ``padding_quantile`` of a step's lengths are cut to it.
        """
        assert replay is not None or retention.looks_back is None
        self._data, self._replay, self._retention, self._seed = data, replay, retention, seed
        batch = training.batch_size * training.gradient_accumulation_steps
        n_replay = retention.n_replay(batch)
        self._batches = BatchPlan(len(data), batch - n_replay, seed)
        self._padding_quantile = padding_quantile
        self._share = n_replay / batch
        self._kl_on_target = retention.kl_weight > 0 and retention.kl_on == "target"
        self._kl_on_replay = retention.kl_weight > 0 and retention.kl_on == "replay"
        if n_replay == 0 and self._kl_on_replay:
            n_replay = retention.kl_sequences
        self._stream = Stream(len(replay), n_replay, seed) if replay and n_replay else None
        self._base_log_probs: BaseLogProbs | None = None
        self._anchor: Anchor | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps in which every target sequence is used once."""
        return self._batches.steps_per_epoch

    def compute_base_log_probs(
        self,
        base: nn.Module,
        total_steps: int,
        batch_size: int,
        device: str,
        top_k: int,
        memory_gb: float,
    ) -> None:
        """Compute the log-probabilities of the untouched ``base`` that the KL penalty needs.

        Runs one forward pass over each sequence of ``total_steps`` steps, and nothing without a KL
        penalty. Keeps the ``top_k`` most probable tokens if all would exceed ``memory_gb`` (2³⁰
        bytes).
        """
        if not self._retention.kl_weight:
            return
        text, order_of_use = self._data, self._batches
        if self._kl_on_replay:
            assert self._replay is not None and self._stream is not None
            text, order_of_use = self._replay, self._stream
        used = sorted(
            {index for step in range(total_steps) for index in order_of_use.indices(step)}
        )
        part = text.take(used)
        log_probs = base_logprobs(base, part, batch_size, device, top_k, memory_gb)
        order = longest_first(part)  # that of the log-probabilities
        n_labels = part.n_labels[order]
        rows = np.concatenate([[0], np.cumsum(n_labels)[:-1]])
        first = {used[place]: int(row) for place, row in zip(order, rows, strict=True)}
        self._base_log_probs = BaseLogProbs(log_probs, first)

    def set_anchor(self, model: nn.Module, device: str) -> None:
        """Set θ⁰ to the current values of the trained parameters of ``model``.

        With EWC, also computes F with a forward and a backward pass over ``ewc_samples`` sequences.
        """
        retention, fisher = self._retention, {}
        if not retention.l2_sp_weight and not retention.ewc_weight:
            return
        if retention.ewc_weight:
            assert self._replay is not None
            order = np.random.default_rng((self._seed, 13)).permutation(len(self._replay))
            chosen = order[: retention.ewc_samples].tolist()
            with computing(model):
                fisher = diagonal_fisher(model, self._replay, chosen, device)
        self._anchor = Anchor(model, retention.l2_sp_weight, retention.ewc_weight, fisher)

    def parts(self, step: int) -> list[StepPart]:
        """Return the sequences of ``step`` (from 0) with their weights."""
        weight = self._retention.kl_weight
        assert weight == 0 or self._base_log_probs is not None
        indices = self._batches.indices(step)
        longest = longest_kept(self._data.lengths[indices], self._padding_quantile)
        parts = [
            StepPart(
                name="loss",
                data=self._data,
                indices=indices,
                nll_weight=1 - self._share,
                kl_weight=weight if self._kl_on_target else 0.0,
                base=self._base_log_probs,
                is_target=True,
                longest=longest,
            )
        ]
        if self._stream is not None:
            assert self._replay is not None
            replayed = StepPart(
                name="replay_loss",
                data=self._replay,
                indices=self._stream.indices(step),
                nll_weight=self._share,
                kl_weight=weight if self._kl_on_replay else 0.0,
                base=self._base_log_probs,
            )
            parts.append(replayed)
        return parts

    def count_cut_tokens(self, steps: int) -> dict[str, int]:
        """Count the target's tokens and sequences that ``padding_quantile`` cuts in ``steps`` steps."""
        if self._padding_quantile == 1:
            return {}
        tokens, sequences = 0, 0
        for step in range(steps):
            lengths = self._data.lengths[self._batches.indices(step)]
            longest = longest_kept(lengths, self._padding_quantile)
            assert longest is not None
            tokens += int(np.maximum(lengths - longest, 0).sum())
            sequences += int((lengths > longest).sum())
        return {"padding_quantile_tokens_cut": tokens, "padding_quantile_sequences_cut": sequences}

    @property
    def is_plain(self) -> bool:
        """True if the objective is the mean NLL of the target alone."""
        weights = self._retention.l2_sp_weight, self._retention.ewc_weight
        return self._stream is None and not self._retention.kl_weight and not any(weights)

    @property
    def has_penalty(self) -> bool:
        """True if the objective has terms other than NLL."""
        return bool(self._retention.kl_weight) or self._anchor is not None

    def penalty(self) -> Tensor | None:
        """Return the penalty on the distance of weights, a scalar, or None without one."""
        return None if self._anchor is None else self._anchor.penalty()
