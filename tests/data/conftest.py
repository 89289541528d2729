from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.config import DataConfig

FIELDS = dict(
    source="jsonl",
    name=None,
    subset=None,
    train=None,
    validation=None,
    test=None,
    general=None,
    general_test=None,
    replay=None,
    prompt_column="prompt",
    answer_column="answer",
    text_column=None,
    label_column=None,
    messages_column=None,
    system_column=None,
    prompt_template="{prompt}\n",
    chat=False,
    chat_template=None,
    template_arguments=None,
    only_last_answer=False,
    id_column=None,
    parent_id_column=None,
    limit_chained_samples=False,
    loss_on="answer",
    max_length=64,
    too_long="truncate",
    truncate="left",
    padding_quantile=1.0,
    packing="none",
    validation_fraction=0.1,
    test_fraction=0.1,
    split_seed=0,
    drop_duplicates=False,
    train_share=1.0,
    train_limit=None,
    validation_limit=None,
    test_limit=None,
    general_limit=None,
    overlap_ngram=13,
    overlap_similarity=0.8,
    drop_overlap="none",
)


@pytest.fixture
def config():
    """`config(field=value, ...)`: a DataConfig."""
    return lambda **changes: DataConfig(**(FIELDS | changes))


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty current directory, so that messages show short paths."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def jsonl(here):
    """`jsonl(name, rows)` writes a file and gives its name."""

    def write(name: str, rows: list) -> str:
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return name

    return write


def _byte_tokenizer(**special):
    """One token a UTF-8 byte, and bos before every text where there is one.

    Every length and mask in a test can be counted by hand.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*special.values(), *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    begins = "bos_token" in special
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, add_bos_token=begins, **special)


@pytest.fixture(scope="session")
def tokenizer():
    return _byte_tokenizer(bos_token="<s>", eos_token="</s>", pad_token="<pad>")


@pytest.fixture(scope="session")
def bare_tokenizer():
    """Neither bos nor eos nor pad."""
    return _byte_tokenizer()
