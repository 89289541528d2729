from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from harness.data.tokens.batches import (
    FORWARD_TOKENS,
    BatchPlan,
    collate,
    evaluation_batches,
    left_padded,
    longest_first,
    micro_batches,
    plan_epoch,
    step_cost,
)
from harness.data.tokens.encode import Encoded

PAD = 99


@pytest.fixture
def encoded() -> Encoded:
    """40 sequences of 2 to 30 random tokens."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 31, size=40)
    return Encoded(
        tokens=rng.integers(0, 90, size=lengths.sum()).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        first_label=np.array([rng.integers(1, length) for length in lengths], np.int32),
        example=np.arange(40, dtype=np.int32),
        label_bytes=np.zeros(40, np.int64),
        counts={},
    )


def padding_share(batches, lengths) -> float:
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    return 1 - lengths.sum() / padded


@pytest.mark.parametrize("size", [1, 7, 400, 401, 1000])
def test_an_epoch_sees_every_sequence_once(size):
    batches = plan_epoch(size, 8, seed=3, epoch=0)
    assert sorted(index for batch in batches for index in batch) == list(range(size))
    assert sum(len(batch) < 8 for batch in batches) == (size % 8 > 0)
    assert batches == plan_epoch(size, 8, seed=3, epoch=0)
    if size > 8:
        assert batches != plan_epoch(size, 8, seed=3, epoch=1)
        assert batches != plan_epoch(size, 8, seed=4, epoch=0)


def test_micro_batches_of_similar_length_hold_less_padding():
    lengths = np.random.default_rng(1).integers(5, 200, size=1000)
    steps = plan_epoch(1000, 32, seed=0, epoch=0)
    parts = [part for step in steps for part in micro_batches(step, lengths, most=8)]
    plain = [step[at : at + 8] for step in steps for at in range(0, len(step), 8)]
    assert padding_share(parts, lengths) < 0.15 < 0.3 < padding_share(plain, lengths)
    free = [part for s in steps for part in micro_batches(s, lengths, most=8, forward_tokens=0)]
    assert padding_share(free, lengths) < 0.01


@pytest.mark.parametrize("most", [1, 3, 8])
def test_micro_batches_cost_least_of_all_splits_and_lose_nothing(most):
    lengths = np.array([9, 2, 7, 7, 30, 3, 28, 1])
    indices = [5, 0, 7, 2, 4, 1, 6, 3]

    def cost(parts):
        return sum(len(part) * lengths[part].max() + 20 for part in parts)

    order = sorted(indices, key=lambda i: -lengths[i])
    splits = [
        np.split(order, [place + 1 for place in range(7) if mask >> place & 1])
        for mask in range(2**7)
    ]
    least = min(cost(parts) for parts in splits if max(map(len, parts)) <= most)
    found = micro_batches(indices, lengths, most, forward_tokens=20)
    assert cost(found) == least
    assert sorted(i for part in found for i in part) == sorted(indices)
    assert max(map(len, found)) <= most
    assert found == micro_batches(indices[::-1], lengths, most, forward_tokens=20)


def test_a_step_costs_its_padded_tokens_and_its_passes():
    lengths = np.array([100, 90, 2000, 100])
    assert step_cost([0, 1, 3], lengths, most=3) == 3 * 100 + FORWARD_TOKENS
    assert step_cost([0, 1, 3], lengths, most=2) == 3 * 100 - 10 + 2 * FORWARD_TOKENS
    assert step_cost([0, 1, 2], lengths, most=3) == 2000 + 2 * 100 + 2 * FORWARD_TOKENS
    assert step_cost([0, 1, 3], lengths, most=3, padded=False) == 100 + 90 + 100 + FORWARD_TOKENS


def test_a_step_needs_no_history():
    lengths = np.random.default_rng(1).integers(1, 50, size=45)
    plan = BatchPlan(len(lengths), 8, seed=3)
    assert plan.steps_per_epoch == 6
    history = [plan.indices(step) for step in range(18)]
    for step in (17, 0, 5, 6, 11, 12, 3):
        assert BatchPlan(len(lengths), 8, seed=3).indices(step) == history[step]
        assert plan.indices(step) == history[step]
    for epoch in range(3):
        seen = [index for batch in history[epoch * 6 : epoch * 6 + 6] for index in batch]
        assert sorted(seen) == list(range(45))


def test_collate_does_what_a_loop_would_do(encoded):
    for indices in ([3], [5, 1, 30], list(range(40))):
        batch = collate(encoded, indices, PAD)
        width = max(len(encoded.sequence(index)) for index in indices)
        targets, rows = [], []
        for row, index in enumerate(indices):
            ids = encoded.sequence(index).tolist()
            padding = width - len(ids)
            assert batch.input_ids[row].tolist() == ids + [PAD] * padding
            assert batch.attention_mask[row].tolist() == [1] * len(ids) + [0] * padding
            predict = [encoded.first_label[index] <= t + 1 < len(ids) for t in range(width)]
            assert batch.predict[row].tolist() == predict
            targets += [ids[t + 1] for t in range(width) if predict[t]]
            rows += [row for t in range(width) if predict[t]]
        assert batch.targets.tolist() == targets
        assert batch.rows.tolist() == rows
    for tensor in (batch.input_ids, batch.attention_mask, batch.targets, batch.rows):
        assert tensor.dtype == torch.int64
    assert batch.predict.dtype == torch.bool


def test_loss_from_a_batch_is_the_mean_over_labels(encoded):
    """`targets` lie in the order in which `logits[predict]` comes out."""
    torch.manual_seed(0)
    batch = collate(encoded, [0, 7, 9], PAD)
    logits = torch.randn(*batch.input_ids.shape, 100)
    labels = torch.full_like(batch.input_ids, -100)
    for row, index in enumerate([0, 7, 9]):
        first, length = encoded.first_label[index], len(encoded.sequence(index))
        labels[row, first:length] = batch.input_ids[row, first:length]
    shifted = torch.nn.functional.cross_entropy(
        logits[:, :-1].reshape(-1, 100), labels[:, 1:].reshape(-1), ignore_index=-100
    )
    ours = torch.nn.functional.cross_entropy(logits[batch.predict], batch.targets)
    torch.testing.assert_close(ours, shifted)


def test_to_another_device(encoded):
    batch = collate(encoded, [0, 1], PAD).to("meta")
    assert batch.input_ids.device.type == batch.rows.device.type == "meta"
    assert batch.attention_mask.device.type == batch.predict.device.type == "cpu"  # read there


def test_evaluation_sees_the_longest_first(encoded):
    order = longest_first(encoded)
    assert sorted(order) == list(range(40))
    assert np.all(np.diff(encoded.lengths[order]) <= 0)
    assert list(chain(*evaluation_batches(encoded, order, 16))) == order


@pytest.mark.parametrize("batch_size", [1, 8, 40])
@pytest.mark.parametrize("forward_tokens", [FORWARD_TOKENS, 4096])
def test_evaluation_pads_less_in_batches_no_larger_than_rows_alone_make(
    encoded, batch_size, forward_tokens
):
    lengths, labels = encoded.lengths, encoded.n_labels
    order = longest_first(encoded)
    by_rows = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
    found = evaluation_batches(encoded, order, batch_size, forward_tokens)

    def cost(batches):
        return sum(len(batch) * lengths[batch].max() + forward_tokens for batch in batches)

    assert cost(found) <= cost(by_rows)
    assert max(len(b) * lengths[b].max() for b in found) <= batch_size * lengths.max()
    assert max(labels[b].sum() for b in found) <= max(labels[b].sum() for b in by_rows)
    assert list(chain(*found)) == order  # what is kept by row keeps its place


def test_few_long_texts_do_not_pad_many_short_ones():
    lengths = np.array([1000, 990] + 30 * [10])
    encoded = Encoded(
        tokens=np.zeros(lengths.sum(), np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        first_label=np.ones(32, np.int32),
        example=np.arange(32, dtype=np.int32),
        label_bytes=np.zeros(32, np.int64),
        counts={},
    )
    found = evaluation_batches(encoded, longest_first(encoded), 16)
    assert list(map(len, found)) == [2, 30]


def test_left_padded():
    prompts = [np.array([1, 2, 3], np.int32), np.array([4], np.int32)]
    input_ids, mask = left_padded(prompts, PAD)
    assert input_ids.tolist() == [[1, 2, 3], [PAD, PAD, 4]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert input_ids.dtype == mask.dtype == torch.int64
