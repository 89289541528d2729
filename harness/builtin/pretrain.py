"""Pretraining of the built-in model: a byte-level BPE and a Llama of a million parameters."""

import math
import sys
import time
from collections.abc import Iterable, Iterator

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY_SIZE = 1024
CONTEXT_TOKENS = 256
ROPE_THETA = 1e6
BOS, EOS, PAD = "<s>", "</s>", "<pad>"
BOS_ID, EOS_ID, PAD_ID = range(3)  # the trainer assigns ids to special tokens first, in this order


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a tokenizer that encodes any text without loss and prepends BOS."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        add_bos_token=True,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=CONTEXT_TOKENS,
        clean_up_tokenization_spaces=False,
    )


def new_model(seed: int) -> LlamaForCausalLM:
    """Create a model whose linear layers have sizes divisible by 64, the block size of NF4."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT_TOKENS,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=True,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )
    model = LlamaForCausalLM(config)
    _wire_induction(model)
    return model


@torch.no_grad()
def _wire_induction(model: LlamaForCausalLM) -> None:
    """Initialize an induction head, which copies "A B ... A -> B" (Olsson et al. 2022).

    Gradient descent alone does not form one within 1,500 steps. A model that cannot copy from its
    context would learn no task on which methods could be compared.

    Head 0 of layer 0 attends to the previous token and writes part of its embedding into the last
    32 dimensions. Head 0 of layer 1 attends to the position whose previous token equals the current
    one, and copies its token. The constants are gains that make each softmax sharp. Training can
    change all of them.
    """
    embeddings = model.model.embed_tokens.weight  # (vocabulary, 128)
    embeddings.normal_(0.0, 0.06)
    embeddings[:, 0] = 0.3  # equal for all tokens, so that a head can attend by position alone
    embeddings[:, 96:] = 0.0
    first, second = (layer.self_attn for layer in model.model.layers[:2])
    rows = torch.arange(32)  # rows of head 0
    for attention in (first, second):
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
            # Small instead of 0: rows that are 0 in queries and keys have no gradient, and DoRA
            # divides by the norm of a row.
            assert isinstance(projection, torch.nn.Linear)
            projection.weight[rows] = torch.randn(32, projection.in_features) * 0.002
        attention.o_proj.weight[:, rows] = 0.0

    # The query is rotated back by one position, so RoPE gives the previous token the highest score.
    angles = ROPE_THETA ** (-torch.arange(16) / 16)
    first.k_proj.weight[:16, 0] = 1.22
    first.q_proj.weight[:16, 0] = 1.22 * angles.cos()
    first.q_proj.weight[16:32, 0] = -1.22 * angles.sin()
    first.v_proj.weight[rows, 1 + rows] = 1.0
    first.o_proj.weight[96 + rows, rows] = 0.06

    slow = torch.tensor(
        [*range(5, 16), *range(21, 32)]
    )  # rows that RoPE hardly rotates, so that content decides
    second.q_proj.weight[slow, 1 + slow] = 1.9
    second.k_proj.weight[slow, 96 + slow] = 1.9
    second.v_proj.weight[rows, 33 + rows] = 1.0
    second.o_proj.weight[33 + rows, rows] = 0.2


def pretrain(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    texts: Iterator[str],
    steps: int,
    rows_per_batch: int = 8,
    learning_rate: float = 3e-3,
) -> None:
    """Train on `<s> text </s>` in packed rows with AdamW, warmup and cosine decay to 0."""
    decayed = [weight for weight in model.parameters() if weight.ndim >= 2]
    others = [weight for weight in model.parameters() if weight.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95))
    warmup_steps = max(1, min(100, steps // 10))

    def share_of_learning_rate(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        return 0.5 + 0.5 * math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share_of_learning_rate)
    rows = _packed_rows(tokenizer, texts)
    model.train()
    started = time.monotonic()
    for step in range(1, steps + 1):
        ids = torch.tensor([next(rows) for _ in range(rows_per_batch)])  # (rows, CONTEXT_TOKENS)
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 20 == 0 or step == steps:
            left_seconds = (time.monotonic() - started) / step * (steps - step)
            progress = f"step {step}/{steps}, loss {loss.item():.3f}, {left_seconds:.0f} s left "
            end = "\n" if step == steps else ""
            print(f"\rpretraining: {progress}", end=end, file=sys.stderr, flush=True)
    model.eval()


def _packed_rows(tokenizer: PreTrainedTokenizerFast, texts: Iterator[str]) -> Iterator[list[int]]:
    """Yield rows of ``CONTEXT_TOKENS`` token ids, with documents concatenated."""
    pending: list[int] = []
    for text in texts:
        pending += document_ids(tokenizer, text)
        while len(pending) >= CONTEXT_TOKENS:
            yield pending[:CONTEXT_TOKENS]
            pending = pending[CONTEXT_TOKENS:]


def document_ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Return the ids of `<s> text </s>`, the form of a document in pretraining."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    return [BOS_ID, *ids, EOS_ID]


@torch.no_grad()
def model_perplexity(model: LlamaForCausalLM, documents: list[list[int]]) -> float:
    """Return the perplexity over all tokens after `<s>`."""
    nats, tokens = 0.0, 0
    for ids in documents:
        logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
        nats += torch.nn.functional.cross_entropy(
            logits, torch.tensor(ids[1:]), reduction="sum"
        ).item()
        tokens += len(ids) - 1
    return math.exp(nats / tokens)


def unigram_perplexity(fitted_on: Iterable[list[int]], documents: list[list[int]]) -> float:
    """Return the perplexity of the same tokens under unigram frequencies (add-one smoothing)."""
    counts = torch.ones(VOCABULARY_SIZE, dtype=torch.float64)
    for ids in fitted_on:
        counts += torch.bincount(torch.tensor(ids[1:]), minlength=VOCABULARY_SIZE)
    log_probabilities = (counts / counts.sum()).log()
    predicted = torch.tensor([token for ids in documents for token in ids[1:]])
    return math.exp(-log_probabilities[predicted].mean().item())
