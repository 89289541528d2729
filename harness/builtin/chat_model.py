"""The built-in chat model: the built-in base, fine-tuned on conversations."""

import json
import sys
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.builtin.pretrain import CONTEXT_TOKENS, document_ids
from harness.builtin.texts.conversation import Messages

# Tokens of bytes that occur in no UTF-8 text become the role tokens. The size of the vocabulary and
# the tokens of every text stay the same.
ROLES = {"<|system|>": "ý", "<|user|>": "þ", "<|assistant|>": "ÿ"}
TEMPLATE = """\
{{ bos_token }}{% for message in messages %}\
{% if message['role'] == 'assistant' %}\
<|assistant|>{% generation %}{{ message['content'] }}{{ eos_token }}{% endgeneration %}\
{% elif message['role'] in ['system', 'user'] %}\
{{ '<|' + message['role'] + '|>' }}{{ message['content'] }}{{ eos_token }}\
{% else %}{{ raise_exception('roles are system, user and assistant, not ' + message['role']) }}\
{% endif %}{% endfor %}\
{% if add_generation_prompt %}<|assistant|>{% endif %}"""
IGNORED = -100


def chat_tokenizer(base: Path, folder: Path) -> PreTrainedTokenizerFast:
    """Save the tokenizer of ``base`` with role tokens and template in ``folder``, and return it."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = data["model"]["vocab"]
    for role, byte in ROLES.items():
        vocabulary[role] = vocabulary.pop(byte)
        like = dict(data["added_tokens"][0])
        data["added_tokens"].append(like | {"id": vocabulary[role], "content": role})
    data["model"]["vocab"] = dict(sorted(vocabulary.items(), key=lambda item: item[1]))
    path.write_text(json.dumps(data, ensure_ascii=False, indent=2), encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder)


def tune_chat(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    conversations: Iterator[Messages],
    texts: Iterator[str],
    steps: int,
    rows_per_batch: int = 8,
    learning_rate: float = 1e-3,
) -> None:
    """Fine-tune in place with AdamW and cosine decay to 0.

    Half of the rows are pretraining text, to limit forgetting. In conversations only the
    assistant's words and end token are labels.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    half = rows_per_batch // 2
    spoken = _rows(_conversation_ids(tokenizer, messages) for messages in conversations)
    written = _rows((ids, ids) for ids in (document_ids(tokenizer, text) for text in texts))
    model.train()
    for step in range(1, steps + 1):
        rows = [next(rows) for rows, _ in zip(cycle([spoken, written]), range(2 * half))]
        ids, labels = (torch.tensor(part) for part in zip(*rows, strict=True))
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 20 == 0 or step == steps:
            end = "\n" if step == steps else ""
            progress = f"chat: step {step}/{steps}, loss {loss.item():.3f}"
            print(f"\r{progress}", end=end, file=sys.stderr, flush=True)
    model.eval()


def _conversation_ids(
    tokenizer: PreTrainedTokenizerFast, messages: Messages
) -> tuple[list[int], list[int]]:
    """Return token ids and labels of one conversation."""
    encoded: Any = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, mask = encoded["input_ids"], encoded["assistant_masks"]
    return ids, [token if said else IGNORED for token, said in zip(ids, mask, strict=True)]


def _rows(parts: Iterator[tuple[list[int], list[int]]]) -> Iterator[tuple[list[int], list[int]]]:
    """Yield (ids, labels) packed into full rows of the model's context."""
    ids: list[int] = []
    labels: list[int] = []
    for more_ids, more_labels in parts:
        ids += more_ids
        labels += more_labels
        while len(ids) >= CONTEXT_TOKENS:
            yield ids[:CONTEXT_TOKENS], labels[:CONTEXT_TOKENS]
            ids, labels = ids[CONTEXT_TOKENS:], labels[CONTEXT_TOKENS:]
