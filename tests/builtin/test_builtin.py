"""The built-in model and data: what is shipped, and that it can be made again."""

import hashlib
import json
from itertools import islice
from pathlib import Path

import pytest
import sacrebleu
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness import builtin
from harness.builtin import build, pretrain
from harness.builtin.texts import general_text, task, world


def read_jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def manifest() -> dict:
    return json.loads(builtin.MANIFEST.read_text())


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(builtin.MODEL)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(builtin.MODEL).eval()


@pytest.fixture(scope="module")
def vale() -> world.World:
    return world.make_world(manifest()["build"]["seed"])


def shipped_held_out() -> set[str]:
    paths = [*builtin.GENERAL.glob("*.jsonl"), *builtin.GENERAL_TEST.glob("*.jsonl")]
    return {row["text"] for path in paths for row in read_jsonl(path)}


def test_short_build_yields_loadable_files(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "HELD_OUT_PER_DOMAIN", 2)
    monkeypatch.setattr(build, "TOKENIZER_DOCUMENTS", 300)
    made = build.build(tmp_path, steps=2, seed=1)
    made_model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    made_tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    ids = made_tokenizer("Mira lives in Fennick.", return_tensors="pt")["input_ids"]
    assert made_model(ids).logits.shape == (1, ids.shape[1], pretrain.VOCABULARY_SIZE)
    shipped = {path.relative_to(builtin.ASSETS) for path in builtin.ASSETS.rglob("*.*")}
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*.*")} == shipped
    assert made == json.loads((tmp_path / "MANIFEST.json").read_text())


def test_same_seed_makes_the_same_data_as_shipped(tmp_path, vale):
    seed = manifest()["build"]["seed"]
    held_out = general_text.held_out_documents(vale, seed, build.HELD_OUT_PER_DOMAIN)
    build.write_data(tmp_path, vale, held_out, seed)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.*")}
    domains = len(general_text.GENERAL_DOMAINS)
    assert len(made) == 3 + 3 + 3 + 3 + 4 + 3 + 3 + 2 * domains + 3 + 3
    for path, content in made.items():
        assert (builtin.ASSETS / path).read_bytes() == content, path


def test_other_seed_makes_another_world():
    assert world.make_world(1) == world.make_world(1) != world.make_world(2)


def test_shipped_files_are_those_of_the_manifest():
    recorded = manifest()["sha256"]
    assert (
        len(recorded) == len([path for path in builtin.ASSETS.rglob("*.*") if path.is_file()]) - 1
    )
    for path, sha256 in recorded.items():
        assert hashlib.sha256((builtin.ASSETS / path).read_bytes()).hexdigest() == sha256, path


def test_shipped_model_is_small_and_fits_quantization_blocks(model):
    assert (builtin.MODEL / "model.safetensors").stat().st_size <= 6_000_000
    linears = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    assert linears
    assert all(side % 64 == 0 for linear in linears for side in linear.weight.shape)


def test_tokenizer_round_trips_and_writes_bos(tokenizer):
    text = 'Größe: "7 eggs", said Mira.\nTobin — yes!'
    ids = tokenizer(text)["input_ids"]
    assert ids == pretrain.document_ids(tokenizer, text)[: len(ids)], "as in its pretraining"
    assert ids == [pretrain.BOS_ID, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3


def test_perplexity_is_far_below_a_unigram_model(model, tokenizer, vale):
    held_out = shipped_held_out()
    documents = [pretrain.document_ids(tokenizer, text) for text in sorted(held_out)]
    seen = islice(
        general_text.training_documents(vale, manifest()["build"]["seed"], held_out), 2000
    )
    unigram = pretrain.unigram_perplexity(
        (pretrain.document_ids(tokenizer, text) for text in seen), documents
    )
    assert pretrain.model_perplexity(model, documents) * 5 < unigram


def test_no_held_out_document_is_trained_on(vale):
    held_out = shipped_held_out()
    assert len(held_out) == len(general_text.GENERAL_DOMAINS) * build.HELD_OUT_PER_DOMAIN
    seen = islice(
        general_text.training_documents(vale, manifest()["build"]["seed"], held_out), 45_000
    )
    assert held_out.isdisjoint(seen)


def test_training_documents_skip_a_held_out_one(vale):
    first = next(general_text.training_documents(vale, 0, set()))
    again = list(islice(general_text.training_documents(vale, 0, {first}), 60))
    assert first not in again


def test_no_input_is_in_two_splits():
    paths = [builtin.TASK_TRAIN, builtin.TASK_VALIDATION, builtin.TASK_TEST]
    prompts = [row["prompt"] for path in paths for row in read_jsonl(path)]
    assert len(prompts) == len(set(prompts)) == sum(build.TASK_ROWS.values())


def test_references_cover_every_call_of_a_notice():
    rows = read_jsonl(builtin.TASK_VALIDATION)
    assert all(len(set(row["references"])) == 6 for row in rows)
    assert {row["prompt"].split(":")[0] for row in rows} == {n.kind for n in task.NOTICES}


def test_cloze_items_have_four_choices_and_a_gold_index():
    paths = sorted(builtin.CLOZE_TASKS.glob("*.jsonl"))
    assert [path.stem for path in paths] == ["vale_lessons", "vale_nature", "vale_people"]
    for item in (item for path in paths for item in read_jsonl(path)):
        assert len(set(item["choices"])) == 4, item
        assert 0 <= item["answer"] < 4, item
    assert all(path.with_suffix(".yaml").exists() for path in paths)


@torch.no_grad()
def test_base_cannot_do_the_target_task(model, tokenizer):
    rows = read_jsonl(builtin.TASK_VALIDATION)[:40]
    prompts = [
        tokenizer.bos_token + builtin.PROMPT_TEMPLATE.format(prompt=row["prompt"]) for row in rows
    ]
    batch = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    output = model.generate(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        max_new_tokens=40,
        do_sample=False,
    )
    answers = tokenizer.batch_decode(
        output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True
    )
    references = list(zip(*(row["references"] for row in rows), strict=True))
    assert sacrebleu.corpus_bleu(answers, [list(column) for column in references]).score <= 10
