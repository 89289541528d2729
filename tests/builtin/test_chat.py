"""The chat sibling of the built-in model, and the isle that neither of them knows."""

import json
from itertools import islice

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness import builtin
from harness.builtin import chat_model, pretrain
from harness.builtin.texts import conversation, general_text, isle, world

TURNS = [
    {"role": "user", "content": "Where does Mira live?"},
    {"role": "assistant", "content": "Mira lives in Oakmere."},
]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(builtin.CHAT_MODEL)


@pytest.fixture(scope="module")
def probes() -> list[dict]:
    return [json.loads(line) for line in builtin.ISLE_PROBES.read_text().splitlines()]


def texts_of(path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


def test_the_chat_model_has_the_tokens_of_the_base(tokenizer):
    base = AutoTokenizer.from_pretrained(builtin.MODEL)
    every_character = "".join(map(chr, range(1, 0x250))) + "Größe 東京 🙂 Mira lives in Oakmere."
    assert tokenizer(every_character)["input_ids"] == base(every_character)["input_ids"]
    ids = tokenizer(every_character)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == every_character
    assert len(tokenizer) == len(base) == pretrain.VOCABULARY_SIZE
    assert all(len(tokenizer(role)["input_ids"]) == 2 for role in chat_model.ROLES)
    assert tokenizer(tokenizer.eos_token)["input_ids"] == [pretrain.BOS_ID, pretrain.EOS_ID]


def test_the_template_marks_what_the_assistant_says(tokenizer):
    made = tokenizer.apply_chat_template(
        TURNS, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    said = [t for t, own in zip(made["input_ids"], made["assistant_masks"], strict=True) if own]
    assert tokenizer.decode(said) == "Mira lives in Oakmere.</s>"
    asked = tokenizer.apply_chat_template(TURNS[:1], tokenize=False, add_generation_prompt=True)
    assert asked == "<s><|user|>Where does Mira live?</s><|assistant|>"
    with pytest.raises(Exception, match="not judge"):
        tokenizer.apply_chat_template([{"role": "judge", "content": "?"}])


@torch.no_grad()
def test_the_chat_model_answers_admits_and_ends_its_turn(tokenizer, probes):
    model = AutoModelForCausalLM.from_pretrained(builtin.CHAT_MODEL, dtype=torch.float32).eval()
    for kind, named in (("old", 1), ("unanswerable", 1), ("new", 0)):
        right = 0
        those = [probe for probe in probes if probe["kind"] == kind][:8]
        for probe in those:
            messages = [{"role": "user", "content": probe["chat"]}]
            inputs = tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
            made = model.generate(**inputs, max_new_tokens=30, do_sample=False)
            answer = tokenizer.decode(made[0, inputs["input_ids"].shape[1] :])
            assert answer.endswith("</s>") and "<|" not in answer, answer
            right += any(value in answer for value in probe["accepted"])
        assert right >= len(those) - 1 if named else right == 0, (kind, right)


def test_no_text_of_the_vale_knows_the_isle(probes):
    vale = world.make_world(0)
    spoken = islice(conversation.conversations(vale, 0), 2000)
    told = [message["content"] for messages in spoken for message in messages]
    texts = [*islice(general_text.training_documents(vale, 0, set()), 2000), *told]
    words = {word.strip(".,?:;") for text in texts for word in text.split()}
    assert words.isdisjoint({*isle.ISLANDERS, *isle.HAMLETS, *isle.NOBODY})
    isle_words = {word.strip(".,?:;") for t in texts_of(builtin.ISLE_TRAIN) for word in t.split()}
    assert isle_words.isdisjoint(isle.NOBODY)
    assert isle_words >= {*isle.ISLANDERS, *isle.HAMLETS}


def test_probes_ask_what_was_told_in_words_that_were_not(probes):
    told = " ".join(texts_of(builtin.ISLE_TRAIN))
    new = [probe for probe in probes if probe["kind"] == "new"]
    assert len(new) == len(isle.KINDS) * len(isle.ISLANDERS) + len(isle.HAMLETS)
    for probe in probes:
        assert f"{probe['completion']} " not in told, probe
        assert len(probe["wrong"]) >= 4 and not set(probe["wrong"]) & set(probe["accepted"])
        # No value stands in the question itself: an echo of it would count as an answer.
        question = f"{probe['completion']} {probe['chat']}".replace("?", "").split()
        assert not {*probe["wrong"], *probe["accepted"]} & set(question), probe
    for fact in isle.isle_facts(0):
        phrasings = {way.format(who=fact.who, value=fact.value) for way in fact.kind.told}
        assert sum(way in told for way in phrasings) >= 5, fact


def test_the_isle_is_in_no_two_splits():
    paths = (builtin.ISLE_TRAIN, builtin.ISLE_VALIDATION, builtin.ISLE_TEST)
    texts = [text for path in paths for text in texts_of(path)]
    assert len(texts) == len(set(texts)) == 400


def test_training_forgets_nothing_that_the_conversations_hold():
    """Labels of a conversation are the assistant's alone, shifted by nothing."""
    tokenizer = AutoTokenizer.from_pretrained(builtin.CHAT_MODEL)
    ids, labels = chat_model._conversation_ids(tokenizer, TURNS)
    kept = [label for label in labels if label != chat_model.IGNORED]
    assert len(ids) == len(labels)
    assert kept == ids[-len(kept) :] and kept[-1] == pretrain.EOS_ID
