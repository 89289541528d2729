"""Build the built-in models and data.

    python -m harness.builtin.build [--output DIR] [--steps N] [--seed 0] [--data-only | --keep-base]

The same seed gives the same files. Weights are identical only on the same kind of CPU with the same
version of torch. One core needs seven minutes, and two more for the chat model. A second thread would
change the last bits of the weights.
"""

import argparse
import hashlib
import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from harness.builtin import ASSETS, MANIFEST
from harness.builtin.cards import write_cards
from harness.builtin.chat_model import chat_tokenizer, tune_chat
from harness.builtin.pretrain import (
    document_ids,
    model_perplexity,
    new_model,
    pretrain,
    train_tokenizer,
    unigram_perplexity,
)
from harness.builtin.texts.cloze import TASK_YAML, cloze_tasks
from harness.builtin.texts.conversation import conversations
from harness.builtin.texts.general_text import (
    distinct,
    held_out_documents,
    ship_logs,
    training_documents,
)
from harness.builtin.texts.isle import isle_texts, probes
from harness.builtin.texts.puzzles import games, sums
from harness.builtin.texts.summaries import summaries
from harness.builtin.texts.task import notices
from harness.builtin.texts.topics import topics
from harness.builtin.texts.world import World, make_world

STEPS = 1500
CHAT_SHARE = 5  # ratio of pretraining steps to steps of the chat model
HELD_OUT_PER_DOMAIN = 50  # half for the search, half for finalists
TOKENIZER_DOCUMENTS = 3000
REPLAY_DOCUMENTS = 200
TASK_ROWS = {"train": 1000, "validation": 100, "test": 200}
TOPIC_ROWS = {"train": 400, "validation": 100, "test": 200}
DOMAIN_DOCUMENTS = {"train": 400, "validation": 50, "test": 50}
ISLE_DOCUMENTS = {"train": 320, "validation": 32, "test": 48}  # 32,000 training tokens
PUZZLE_ROWS = {"train": 500, "validation": 80, "test": 160}
SUMMARY_ROWS = {"train": 500, "validation": 80, "test": 160}
OLD_PROBES = 30
CLOZE_ITEMS = 60


def build(output: Path, steps: int = STEPS, seed: int = 0) -> dict:
    """Write all files to ``output`` and return the manifest, which is written last."""
    torch.set_num_threads(1)
    world = make_world(seed)
    held_out = held_out_documents(world, seed, HELD_OUT_PER_DOMAIN)
    write_data(output, world, held_out, seed)

    held_out_texts = {text for texts in held_out.values() for text in texts}
    tokenizer = train_tokenizer(
        islice(training_documents(world, seed, held_out_texts), TOKENIZER_DOCUMENTS)
    )
    model = new_model(seed)
    pretrain(model, tokenizer, training_documents(world, seed, held_out_texts), steps)
    model.save_pretrained(output / "model")
    tokenizer.save_pretrained(output / "model")

    chat_perplexity = make_chat(output, world, held_out_texts, steps, seed)
    write_cards(output)
    replay = islice(training_documents(world, seed, held_out_texts), REPLAY_DOCUMENTS)
    _write_jsonl(output / "data" / "replay.jsonl", ({"text": text} for text in replay))
    seen = islice(training_documents(world, seed, held_out_texts), TOKENIZER_DOCUMENTS)
    seen_ids = [document_ids(tokenizer, text) for text in seen]
    documents = [document_ids(tokenizer, text) for text in sorted(held_out_texts)]
    manifest = {
        "build": {"seed": seed, "steps": steps, "parameters": model.num_parameters()},
        "held_out_perplexity": {
            "model": round(model_perplexity(model, documents), 3),
            "chat_model": chat_perplexity,
            "unigram": round(unigram_perplexity(seen_ids, documents), 3),
        },
        "sha256": file_hashes(output),
    }
    (output / MANIFEST.name).write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def make_chat(output: Path, world: World, held_out: set[str], steps: int, seed: int) -> float:
    """Fine-tune the base in ``output`` to a chat model and return its perplexity on held-out text.

    It is saved in bfloat16, the dtype in which it is loaded.
    """
    folder = output / "chat_model"
    tokenizer = chat_tokenizer(output / "model", folder)
    model = LlamaForCausalLM.from_pretrained(output / "model", dtype=torch.float32)
    texts = training_documents(
        world, seed + 1, held_out
    )  # texts that differ from those of the base
    tune_chat(model, tokenizer, conversations(world, seed), texts, max(1, steps // CHAT_SHARE))
    model.bfloat16().save_pretrained(folder)
    documents = [document_ids(tokenizer, text) for text in sorted(held_out)]
    return round(model_perplexity(model.float(), documents), 3)


def file_hashes(output: Path) -> dict[str, str]:
    """Return relative path → SHA-256 of every file in ``output`` except the manifest."""
    return {
        path.relative_to(output).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.rglob("*"))
        if path.is_file() and path != output / MANIFEST.name
    }


def write_data(output: Path, world: World, held_out: dict[str, list[str]], seed: int) -> None:
    """Write all data sets: tasks, new domain, held-out general text, cloze tasks."""
    data = output / "data"
    for split, rows in notices(world, seed, TASK_ROWS).items():
        _write_jsonl(data / f"task_{split}.jsonl", rows)
    logs = iter(ship_logs(world, seed, sum(DOMAIN_DOCUMENTS.values())))
    for split, number in DOMAIN_DOCUMENTS.items():
        _write_jsonl(
            data / f"domain_{split}.jsonl", ({"text": text} for text in islice(logs, number))
        )
    isle_documents = iter(distinct(isle_texts(seed), sum(ISLE_DOCUMENTS.values())))
    for split, number in ISLE_DOCUMENTS.items():
        _write_jsonl(
            data / f"isle_{split}.jsonl",
            ({"text": text} for text in islice(isle_documents, number)),
        )
    _write_jsonl(data / "isle_probes.jsonl", probes(world, seed, OLD_PROBES))
    for split, rows in topics(world, seed, TOPIC_ROWS, held_out).items():
        _write_jsonl(data / f"topics_{split}.jsonl", rows)
    pairs = {
        "sums": sums(world, seed, PUZZLE_ROWS),
        "game": games(seed, PUZZLE_ROWS),
        "summaries": summaries(world, seed, SUMMARY_ROWS),
    }
    for name, splits in pairs.items():
        for split, rows in splits.items():
            _write_jsonl(data / f"{name}_{split}.jsonl", rows)
    for domain, texts in held_out.items():
        half = len(texts) // 2
        _write_jsonl(
            data / "general" / f"{domain}.jsonl", ({"text": text} for text in texts[:half])
        )
        _write_jsonl(
            data / "general_test" / f"{domain}.jsonl", ({"text": text} for text in texts[half:])
        )
    for name, items in cloze_tasks(world, seed, CLOZE_ITEMS).items():
        _write_jsonl(output / "tasks" / f"{name}.jsonl", items)
        (output / "tasks" / f"{name}.yaml").write_text(TASK_YAML.format(name=name))


def rewrite_data(output: Path, seed: int, chat: bool = False) -> dict:
    """Write the data of an earlier build again, keep its base, and return the new manifest.

    With ``chat``, also train the chat model again.
    """
    torch.set_num_threads(1)
    world = make_world(seed)
    held_out = held_out_documents(world, seed, HELD_OUT_PER_DOMAIN)
    write_data(output, world, held_out, seed)
    manifest = json.loads((output / MANIFEST.name).read_text())
    assert manifest["build"]["seed"] == seed
    if chat:
        texts = {text for domain in held_out.values() for text in domain}
        perplexity = make_chat(output, world, texts, manifest["build"]["steps"], seed)
        manifest["held_out_perplexity"]["chat_model"] = perplexity
    write_cards(output)
    manifest["sha256"] = file_hashes(output)
    (output / MANIFEST.name).write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def _write_jsonl(path: Path, rows: Iterable[dict]) -> None:
    """Write one JSON object per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def main() -> None:
    """Run the build from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=ASSETS,
        help="folder to write to (default: the shipped assets)",
    )
    parser.add_argument(
        "--steps", type=int, default=STEPS, help=f"pretraining steps (default: {STEPS})"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of the world, its texts and the weights (default: 0)",
    )
    parser.add_argument(
        "--data-only",
        action="store_true",
        help="write the data again, keep the existing models",
    )
    parser.add_argument(
        "--keep-base",
        action="store_true",
        help="write the data and the chat model again, keep the existing base",
    )
    arguments = parser.parse_args()
    if arguments.data_only or arguments.keep_base:
        manifest = rewrite_data(arguments.output, arguments.seed, chat=arguments.keep_base)
    else:
        manifest = build(arguments.output, arguments.steps, arguments.seed)
    perplexity = manifest["held_out_perplexity"]
    print(
        f"held-out perplexity: {', '.join(f'{name} {value}' for name, value in perplexity.items())}"
    )
    print(f"{len(manifest['sha256'])} files in {arguments.output}")


if __name__ == "__main__":
    main()
