"""The training objective: the loss of a step plus terms that keep the model near its base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.config import RetentionConfig, TrainingConfig
from harness.data.tokens.batches import Batch, BatchPlan, Stream, longest_kept
from harness.data.tokens.encode import Encoded
from harness.models.logprobs import LogProbs, base_logprobs
from harness.models.precision import computing
from harness.training.anchor import Anchor, diagonal_fisher

if TYPE_CHECKING:
    from torch import Tensor, nn


ALL = slice(None)
OFF = RetentionConfig(0.0, 0.0, "replay", 1, 0.0, 0.0, 1)  # a loss without penalties


@dataclass(frozen=True)
class Memory:
    """The base's log-probabilities at the labels of some sequences of a text."""

    log_probs: LogProbs
    first_row: dict[int, int]  # of each sequence, by its index in the text

    def divergence(
        self, logits: Tensor, data: Encoded, indices: Sequence[int], rows: slice = ALL
    ) -> Tensor:
        """Return (K,) KL(base ‖ model) in nats at the K labels of ``indices``, in batch order.

        ``rows``: of those labels, where ``logits`` (rows, vocabulary) are not at all of them.
        """
        import torch

        n_labels = data.n_labels
        starts = [self.first_row[index] for index in indices]
        kept = [np.arange(at, at + n_labels[i]) for at, i in zip(starts, indices, strict=True)]
        chosen = torch.from_numpy(np.concatenate(kept)[rows])
        return self.log_probs.rows(chosen).divergence(logits, 0)


@dataclass(frozen=True)
class Part:
    """Some sequences of a step and their weights in its loss."""

    name: str  # name under which their mean NLL is reported
    data: Encoded
    indices: list[int]
    nll_weight: float = 1.0  # of the mean NLL over their label tokens
    kl_weight: float = 0.0  # of the mean KL(base ‖ model) over the same tokens
    base: Memory | None = None
    is_target: bool = False  # not replay text
    longest: int | None = None  # tokens: longer sequences are cut to it from their left


def mean_nll(
    logits: Tensor,
    batch: Batch,
    n_labels: int,
    n_sequences: int,
    config: TrainingConfig,
    rows: slice = ALL,
) -> Tensor:
    """Return the part of ``batch`` in the mean NLL of a step of ``n_labels`` in ``n_sequences``.

    (rows, vocabulary) ``logits`` at ``rows`` of its labels. By token every label weighs 1/n_labels; by
    sequence each of the k labels of a sequence weighs 1/(k·n_sequences).
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
    k = torch.bincount(batch.rows, minlength=len(batch.input_ids))
    return (nll / (k[batch.rows[rows]] * n_sequences)).sum()


class Criterion:
    """The loss of every step of one run, as a function of the step.

    With everything off it is the mean NLL over the label tokens of the step's sequences. In full,

        L = (1 − s)·NLL(target) + s·NLL(replay) + λ·KL(base ‖ model) + ½ Σ_i (α + β·F_i)(θ_i − θ⁰_i)²

    each mean over the label tokens of its own sequences, so that long documents do not outweigh
    short answers (with ``loss_average: sequence`` NLL is a mean over sequences). s is the share of
    the step's sequences that are replay text; KL is on the same ones, on ``kl_sequences`` beside the
    batch if there are none, or on the target's. The base's own log-probabilities are computed once:
    no second model is held, and the base's inputs are not augmented. For a quantized base they are
    those of the quantized model, from which training starts.

    Values that depend on the base (log-probabilities, θ⁰, F) are in no checkpoint: a resumed run
    computes them again from the same base and seed. A stage before the task (Method.first_stage) is
    trained without these terms. The KL is still from the base, and θ⁰ is the result of that stage.
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
        """``replay``: general text, required if ``retention.looks_back``.

        ``padding_quantile``: quantile of the lengths of a step's sequences; longer ones are cut to it.
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
        self._memory: Memory | None = None
        self._anchor: Anchor | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of steps in which every target sequence is seen once."""
        return self._batches.steps_per_epoch

    def remember(
        self,
        base: nn.Module,
        total_steps: int,
        batch_size: int,
        device: str,
        top_k: int,
        memory_gb: float,
    ) -> None:
        """Compute the log-probabilities of the untouched ``base`` that the run will need.

        One forward pass over each sequence of ``total_steps``; nothing without KL.
        """
        if not self._retention.kl_weight:
            return
        text, asked = self._data, self._batches
        if self._kl_on_replay:
            assert self._replay is not None and self._stream is not None
            text, asked = self._replay, self._stream
        used = sorted({index for step in range(total_steps) for index in asked.indices(step)})
        part = text.take(used)
        log_probs = base_logprobs(base, part, batch_size, device, top_k, memory_gb)
        order = np.argsort(-part.lengths, kind="stable")  # in the order of evaluation_batches
        n_labels = part.n_labels[order]
        rows = np.concatenate([[0], np.cumsum(n_labels)[:-1]])
        first = {used[place]: int(row) for place, row in zip(order, rows, strict=True)}
        self._memory = Memory(log_probs, first)

    def hold(self, model: nn.Module, device: str) -> None:
        """Anchor the trained parameters of the freshly adapted ``model`` at their current values.

        With EWC: forward and backward passes over ``ewc_samples`` sequences.
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

    def parts(self, step: int) -> list[Part]:
        """Return the sequences of a step (from 0) and their weights."""
        weight = self._retention.kl_weight
        assert weight == 0 or self._memory is not None
        indices = self._batches.indices(step)
        longest = longest_kept(self._data.lengths[indices], self._padding_quantile)
        parts = [
            Part(
                name="loss",
                data=self._data,
                indices=indices,
                nll_weight=1 - self._share,
                kl_weight=weight if self._kl_on_target else 0.0,
                base=self._memory,
                is_target=True,
                longest=longest,
            )
        ]
        if self._stream is not None:
            assert self._replay is not None
            replayed = Part(
                name="replay_loss",
                data=self._replay,
                indices=self._stream.indices(step),
                nll_weight=self._share,
                kl_weight=weight if self._kl_on_replay else 0.0,
                base=self._memory,
            )
            parts.append(replayed)
        return parts

    def cut(self, steps: int) -> dict[str, int]:
        """Count the target's tokens that the padding quantile cuts off in ``steps`` steps."""
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
    def has_penalty(self) -> bool:
        """True if the objective has terms besides NLL."""
        return bool(self._retention.kl_weight) or self._anchor is not None

    def penalty(self) -> Tensor | None:
        """Return the penalty on the distance in weights, or None without one."""
        return None if self._anchor is None else self._anchor.penalty()
