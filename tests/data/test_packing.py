"""Several texts in one sequence: every token once, every label as before, and no text sees another."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from running import adapted
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import AutoConfig

from harness.data.rows.example import Example
from harness.data.tokens.batches import collate, longest_kept
from harness.data.tokens.encode import encode
from harness.errors import InputError
from harness.models.checks.packing import check_texts_apart
from harness.models.logits import logits_at, positions

TEXT = dict(prompt_column=None, answer_column=None, text_column="text", loss_on="all")
DOCUMENTS = [
    Example("", ("".join(chr(97 + (i * j) % 26) for j in range(n)),))
    for i, n in enumerate([3, 50, 1, 17, 8, 30, 22, 5, 9, 61, 2, 12])
]


def spelled(encoded, tokenizer) -> Counter:
    """The text of the labels of each text packed into any sequence."""
    found: Counter = Counter()
    for index in range(len(encoded)):
        ids, labels = encoded.sequence(index), encoded.labels(index)
        here = slice(encoded.offsets[index], encoded.offsets[index + 1])
        numbers = np.ones(len(ids)) if encoded.segments is None else encoded.segments[here]
        for number in np.unique(numbers):
            found[tokenizer.decode(ids[labels & (numbers == number)])] += 1
    return found


@pytest.mark.parametrize("bare", [False, True])
def test_documents_are_put_together_whole(tokenizer, bare_tokenizer, config, bare):
    tokenizer = bare_tokenizer if bare else tokenizer
    alone = encode(DOCUMENTS, tokenizer, config(**TEXT, max_length=24), all_references=True)
    packing = config(**TEXT, max_length=24, packing="documents")
    packed = encode(DOCUMENTS, tokenizer, packing, all_references=True)
    assert spelled(packed, tokenizer) == spelled(alone, tokenizer)
    assert len(packed) < len(alone) and packed.lengths.max() <= 24
    for name in ("tokens", "label_tokens", "n_dropped", "n_too_long"):
        assert packed.counts[name] == alone.counts[name]
    assert packed.counts["texts_packed"] == alone.counts["n_sequences"]
    assert packed.label_bytes.sum() == alone.label_bytes.sum()
    room = 24 * len(packed) - packed.lengths.sum()
    assert room < 24, "no two sequences would fit into one"
    for index in range(len(packed)):
        here = packed.segments[packed.offsets[index] : packed.offsets[index + 1]]
        assert here[0] == 1 and set(np.diff(here)) <= {0, 1}
    evaluated = encode(DOCUMENTS, tokenizer, packing, all_references=False)
    assert evaluated.segments is None and len(evaluated) == len(alone), "for training only"


@pytest.mark.parametrize("bare", [False, True])
def test_a_stream_is_cut_anywhere(tokenizer, bare_tokenizer, config, bare):
    tokenizer = bare_tokenizer if bare else tokenizer
    alone = encode(DOCUMENTS, tokenizer, config(**TEXT, max_length=64), all_references=True)
    packing = config(**TEXT, max_length=24, packing="stream")
    packed = encode(DOCUMENTS, tokenizer, packing, all_references=True)
    assert all(packed.lengths[:-1] == 24) and packed.segments is None
    assert packed.counts["label_tokens"] == alone.counts["label_tokens"]
    assert packed.label_bytes.sum() == alone.label_bytes.sum()
    ids = [packed.sequence(0), *(packed.sequence(i)[1:] for i in range(1, len(packed)))]
    whole = [alone.sequence(i) for i in range(len(alone))] if not bare else []
    if not bare:  # of the bare tokenizer a text of one token is no sequence alone
        assert np.concatenate(ids).tolist() == np.concatenate(whole).tolist()
    labels = [packed.sequence(i)[packed.labels(i)] for i in range(len(packed))]
    own = [alone.sequence(i)[alone.labels(i)] for i in range(len(alone))]
    assert np.concatenate(labels).tolist() == np.concatenate(own).tolist()


def test_pairs_are_packed_with_their_own_labels(tokenizer, config):
    pairs = [Example("ask:", ("yes", "no!")), Example("é:", ("ü😀",))]
    data = config(packing="documents", max_length=20)
    packed = encode(pairs, tokenizer, data, all_references=True)
    assert len(packed) == 2
    assert spelled(packed, tokenizer) == {"yes</s>": 1, "no!</s>": 1, "ü😀</s>": 1}


def test_positions_begin_anew_with_each_text():
    segments = torch.tensor([[1, 1, 2, 3, 3, 3, 0, 0], [1, 1, 1, 1, 1, 1, 1, 1]])
    assert positions(segments).tolist() == [[0, 1, 0, 0, 1, 2, 0, 1], [0, 1, 2, 3, 4, 5, 6, 7]]


SMALL = dict(vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
KINDS = {
    "llama": SMALL | dict(intermediate_size=48, num_key_value_heads=2, max_position_embeddings=64),
    "qwen3": SMALL | dict(intermediate_size=48, num_key_value_heads=2, head_dim=8),
    "gpt2": dict(vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "mistral": SMALL | dict(intermediate_size=48, num_key_value_heads=2, sliding_window=16),
    "bloom": dict(vocab_size=300, hidden_size=32, n_layer=2, n_head=4),
    "mamba": dict(vocab_size=300, hidden_size=32, num_hidden_layers=2, state_size=4),
}


def small(kind: str, attention: str | None = None):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **KINDS[kind], bos_token_id=0, eos_token_id=1)
    named = {} if attention is None else {"attn_implementation": attention}
    return AutoModelForCausalLM.from_config(config, **named).eval()


def nll(model, encoded) -> tuple[float, int]:
    """Summed in float64 over all labels, in batches that are padded."""
    total, n = 0.0, 0
    for start in range(0, len(encoded), 3):
        batch = collate(encoded, range(start, min(start + 3, len(encoded))), pad_id=0)
        with torch.no_grad():
            logits = logits_at(model, batch.input_ids, batch.attention_mask, batch.predict)
        losses = torch.nn.functional.cross_entropy(logits.double(), batch.targets, reduction="none")
        total, n = total + float(losses.sum()), n + len(losses)
    return total, n


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["llama", "qwen3", "gpt2", "mistral"])
def test_packed_documents_lose_what_they_lose_alone(tokenizer, config, kind, attention):
    model, exact = small(kind, attention), 1e-6
    if attention == "sdpa":  # the library's eager masks overflow in float64
        model, exact = model.double(), 1e-12
    check_texts_apart(model, 24, "cpu")
    alone = encode(DOCUMENTS, tokenizer, config(**TEXT, max_length=24), all_references=True)
    packing = config(**TEXT, max_length=24, packing="documents")
    packed = encode(DOCUMENTS, tokenizer, packing, all_references=True)
    expected, n = nll(model, alone)
    assert nll(model, packed) == (pytest.approx(expected, rel=exact), n)
    unmarked = nll(model, replace(packed, segments=None))[0]
    assert abs(unmarked / expected - 1) > 1e-5, "without boundaries it is another loss"


def one_row_kernel(module, query, key, value, mask, scaling=None, position_ids=None, **about):
    """Attention as the flash kernels do it: by positions, in a batch of one row; else not apart."""
    n, length = query.shape[0], query.shape[2]
    places = torch.arange(length)
    seen = (places[:, None] >= places)[None].expand(n, -1, -1)
    if n == 1 and position_ids is not None:
        texts = (position_ids == 0).cumsum(-1)
        seen = seen & (texts[:, :, None] == texts[:, None, :])
    groups = query.shape[1] // key.shape[1]
    key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
    found = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=seen[:, None], scale=scaling
    )
    return found.transpose(1, 2), None


def test_rows_are_laid_end_to_end_for_kernels_that_tell_texts_apart_in_one(
    tokenizer, config, monkeypatch
):
    """transformers gives the flash kernels the bounds of texts in a batch of one row alone."""
    from transformers import AttentionInterface

    AttentionInterface.register("flash_one_row", one_row_kernel)
    model = small("llama").double()
    plain = encode(DOCUMENTS, tokenizer, config(**TEXT, max_length=24), all_references=True)
    expected, n = nll(model, plain)
    model.config._attn_implementation = "flash_one_row"
    check_texts_apart(model, 24, "cpu")
    packing = config(**TEXT, max_length=24, packing="documents")
    packed = encode(DOCUMENTS, tokenizer, packing, all_references=True)
    assert nll(model, packed) == (pytest.approx(expected, rel=1e-12), n)
    for module in ("logits", "end_to_end"):
        monkeypatch.setattr(f"harness.models.{module}.attends_by_flash", lambda model: False)
    with pytest.raises(InputError, match=r"data\.packing='documents' cannot be used"):
        check_texts_apart(model, 24, "cpu")


@pytest.mark.parametrize("kind", ["bloom", "mamba"])
def test_a_model_that_mixes_packed_texts_is_refused(kind):
    with pytest.raises(InputError, match=r"^data\.packing='documents' cannot be used with this"):
        check_texts_apart(small(kind), 24, "cpu")


@pytest.mark.parametrize("method", ["prompt_tuning", "prefix_tuning"])
def test_virtual_tokens_are_refused(lend, encoded, trial_config, method):
    with lend() as base:
        model = adapted(base, trial_config(f"method={method}"), encoded).model
        with pytest.raises(
            InputError, match=r"^data\.packing='documents' cannot be used with this"
        ):
            check_texts_apart(model, 24, "cpu")


def test_padding_quantile_is_a_length_of_the_step():
    lengths = np.array([4, 10, 6, 8, 100])
    assert longest_kept(lengths, 1.0) is None
    assert longest_kept(lengths, 0.75) == 10
    assert longest_kept(lengths, 0.5) == 8
    assert longest_kept(lengths, 0.8) == 28
    # H2O's own: rows padded on the left, cut at the quantile 1 - q of where they begin.
    for q in (0.1, 0.3, 0.77, 0.9):
        begins = torch.tensor(100 - lengths).float()
        assert longest_kept(lengths, q) == 100 - int(torch.floor(begins.quantile(1 - q)))


def test_longer_sequences_are_cut_from_their_left(tokenizer, config):
    data = encode(
        [Example("0123456789:", ("ab",)), Example("0:", ("cdefgh",)), Example(":", ("x",))],
        tokenizer,
        config(),
        all_references=True,
    )
    masked = replace(data, label_mask=np.concatenate([data.labels(i) for i in range(3)]))
    for encoded in (data, masked):
        batch = collate(encoded, [0, 1, 2], pad_id=2, longest=6)
        assert tokenizer.batch_decode(batch.input_ids) == [
            "789:ab</s>"[1:],
            "defgh</s>"[0:],
            "<s>:x</s><pad><pad>",
        ]
        assert tokenizer.decode(batch.targets[:3]) == "ab</s>"
        assert tokenizer.decode(batch.targets[3:8]) == "efgh</s>", "nothing predicts the first"
        assert batch.rows.tolist() == [0] * 3 + [1] * 5 + [2] * 2
        whole, same = collate(encoded, [0, 1], 2), collate(encoded, [0, 1], 2, longest=99)
        assert torch.equal(whole.input_ids, same.input_ids)
        assert torch.equal(whole.targets, same.targets)
