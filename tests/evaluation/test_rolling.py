"""The log-likelihood of whole texts, by us and by lm-eval's rolling windows: the same number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from lm_eval.api.instance import Instance
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from harness.data.tokens.encode import Encoded, encode_documents
from harness.evaluation import benchmarks
from harness.evaluation.benchmarks.task_model import in_memory
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.likelihood import sequence_nll
from harness.statistics.scores import aggregate

STORIES = Path(__file__).parents[2].parent / "shared" / "models" / "stories260K"
TEXTS = (
    "Once upon a time, there was a little girl named Lily. She liked to play in the park.",
    "Tom saw a big dog.",
    "The meeting of the council was moved to the ninth of June.\nNobody objected.",
)


def rolling(base, texts, config):
    """lm-eval's log-likelihood of each text, through the door that its tasks take."""
    model = in_memory(base.model, base.tokenizer, config, "cpu")
    asked = [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(texts)]
    return np.array(model.loglikelihood_rolling(asked))


def compared(base, texts, config):
    """Sum of the negative log-likelihood of each text: ours and lm-eval's."""
    encoded = encode_documents(texts, base.tokenizer, 10_000)
    nll, _ = sequence_nll(base.model, encoded, 2, "cpu")
    perplexity = aggregate("x.perplexity", np.stack([nll, encoded.n_labels], axis=1))
    theirs = -rolling(base, texts, config)
    assert nll == pytest.approx(theirs, rel=1e-6)
    assert perplexity == pytest.approx(np.exp(theirs.sum() / encoded.n_labels.sum()), rel=1e-6)


def long_text(base, texts, config):
    """Beyond the window lm-eval goes on after the last token before; the first one follows bos."""
    length, bos = 40, base.tokenizer.bos_token_id
    ids = base.tokenizer.encode(" ".join(texts * 40), add_special_tokens=False)[: 2 * length + 9]
    text = base.tokenizer.decode(ids)
    assert base.tokenizer.encode(text, add_special_tokens=False) == ids
    windows = [make_disjoint_window(w) for w in get_rolling_token_windows(ids, bos, length, 1)]
    blocks = [[*before, *predicted] for before, predicted in windows]
    encoded = Encoded(
        tokens=np.concatenate(blocks).astype(np.int32),
        offsets=np.cumsum([0, *map(len, blocks)]),
        first_label=np.array([len(before) for before, _ in windows], dtype=np.int32),
        example=np.zeros(len(blocks), dtype=np.int32),
        label_bytes=np.ones(len(blocks), dtype=np.int64),
        counts={},
    )
    assert len(blocks) == 3
    assert encoded.n_labels.sum() == len(ids)  # each token exactly once
    nll, _ = sequence_nll(base.model, encoded, 2, "cpu")
    kept = base.model.config.max_position_embeddings
    base.model.config.max_position_embeddings = length
    assert nll.sum() == pytest.approx(-rolling(base, [text], config)[0], rel=1e-6)
    base.model.config.max_position_embeddings = kept


@pytest.fixture
def evaluation(trial_config):
    return trial_config("method=lora").evaluation


def test_built_in_model(lend, evaluation):
    with lend() as base:
        compared(base, TEXTS, evaluation)
        long_text(base, TEXTS, evaluation)


@pytest.mark.shared
@pytest.mark.skipif(not STORIES.is_dir(), reason="the real model is not here")
def test_stories260k(lend, evaluation):
    with lend(name=str(STORIES)) as base:
        compared(base, TEXTS, evaluation)
        long_text(base, TEXTS, evaluation)


def test_a_bos_that_the_tokenizer_adds_itself_is_not_scored(lend, evaluation):
    """With HFLM alone it is: bos after bos, one token that no text has."""
    from tokenizers.processors import TemplateProcessing

    with lend() as base:
        bos = base.tokenizer.bos_token
        adds = replace(
            base, tokenizer=type(base.tokenizer).from_pretrained(base.tokenizer.name_or_path)
        )
        template = [(bos, adds.tokenizer.bos_token_id)]
        adds.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{bos} $A {bos}", special_tokens=template
        )
        assert adds.tokenizer("a")["input_ids"][0] == adds.tokenizer.bos_token_id
        assert adds.tokenizer("a")["input_ids"][-1] == adds.tokenizer.bos_token_id
        model = in_memory(adds.model, adds.tokenizer, evaluation, "cpu")
        plain = in_memory(base.model, base.tokenizer, evaluation, "cpu")
        ids = [base.tokenizer.bos_token_id, *base.tokenizer.encode("a b", add_special_tokens=False)]
        assert model.tok_encode("a b") == plain.tok_encode("a b") == ids  # begun once, never ended
        assert model.tok_batch_encode(["a b"])[0].tolist() == [ids]
        assert model._encode_pair("a", " b") == plain._encode_pair("a", " b")
        compared(adds, TEXTS, evaluation)


def test_a_task_of_whole_texts_has_lm_evals_perplexities(tmp_path, lend, evaluation):
    rows = "\n".join(f'{{"page": "{text}"}}'.replace("\n", " ") for text in TEXTS)
    (tmp_path / "pages.jsonl").write_text(rows)
    task = {
        "task": "pages",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "pages.jsonl"}},
        "test_split": "test",
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{page}}",
        "metric_list": [{"metric": m} for m in ("word_perplexity", "bits_per_byte")],
    }
    (tmp_path / "pages.yaml").write_text(yaml.safe_dump(task))
    config = replace(evaluation, task_folder=str(tmp_path), task_limit=None)
    with lend() as base:
        results = benchmarks.run_tasks(base.model, base.tokenizer, config, "cpu")
        texts = [text.replace("\n", " ") for text in TEXTS]
        nll = -rolling(base, texts, config)
    measured = MeasurementCollector(100)
    benchmarks.add(measured, results, results, config)
    words = sum(len(text.split()) for text in texts)
    n_bytes = sum(len(text.encode()) for text in texts)
    found = measured.measurements
    assert results.missing == measured.missing == {}
    assert found["tasks.pages.word_perplexity"].value == pytest.approx(np.exp(nll.sum() / words))
    assert found["tasks.pages.bits_per_byte"].value == pytest.approx(
        nll.sum() / n_bytes / np.log(2)
    )
    low, high = found["tasks.pages.word_perplexity"].interval
    assert low < found["tasks.pages.word_perplexity"].value < high
    assert not [
        name for name in found if name.startswith("forgetting")
    ]  # right or wrong of no item
