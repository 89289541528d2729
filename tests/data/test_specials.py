"""Special tokens: the tokenizer decides what stands around a text, and the data's own are text."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from harness.data.rows.example import Example
from harness.data.rows.splits import read_splits
from harness.data.tokens.encode import encode, encode_documents, encode_prompts, prompts
from harness.data.tokens.encode_chats import as_scored
from harness.data.tokens.special_tokens import SpecialTokens, begins_with, ends_of

PLAIN = dict(prompt_column=None, answer_column=None, text_column="text")


def spelled(encoded, tokenizer, index: int = 0) -> tuple[str, str]:
    """A sequence before its first label and from there on."""
    ids, first = encoded.sequence(index), encoded.first_label[index]
    return tokenizer.decode(ids[:first]), tokenizer.decode(ids[first:])


@pytest.fixture(scope="module")
def silent(tokenizer):
    """Has a bos that it never writes."""
    quiet = copy.deepcopy(tokenizer)
    quiet.add_bos_token = False
    return quiet


@pytest.fixture(scope="module")
def prefixed(tokenizer):
    """Begins texts with two tokens, as GLM's does."""
    from tokenizers.processors import TemplateProcessing

    glm = copy.deepcopy(tokenizer)
    glm.add_special_tokens({"additional_special_tokens": ["[gMASK]", "<sop>"]})
    ids = [(token, glm.convert_tokens_to_ids(token)) for token in ("[gMASK]", "<sop>")]
    glm.backend_tokenizer.post_processor = TemplateProcessing(
        single="[gMASK] <sop> $A", special_tokens=ids
    )
    return glm


@pytest.mark.parametrize("name", ["tokenizer", "silent", "prefixed", "bare_tokenizer"])
def test_texts_begin_as_the_tokenizer_begins_them(name, request, config):
    tokenizer = request.getfixturevalue(name)
    begin = tokenizer("")["input_ids"]
    assert begins_with(tokenizer) == begin
    assert ends_of(tokenizer) == {*begin, tokenizer.eos_token_id} - {None}
    (asked,) = prompts([Example("ask:", ("yes",))], tokenizer, config(), reserve=8)
    assert asked.tolist() == tokenizer("ask:")["input_ids"]
    pair = encode([Example("ask:", ("yes",))], tokenizer, config(), all_references=True)
    assert pair.sequence(0)[: len(asked)].tolist() == asked.tolist()
    drift = encode_prompts([Example("ask:", ("yes",))], tokenizer, config())
    assert drift is not None and drift.sequence(0).tolist() == asked.tolist()
    document = encode_documents(["a text"], tokenizer, 64)
    assert document.sequence(0).tolist() == tokenizer("a text")["input_ids"]
    assert document.n_labels.tolist() == [6 if begin else 5], "nothing predicts a first token"
    text = config(**PLAIN, max_length=10)
    blocks = encode([Example("", ("0123456789" * 2,))], tokenizer, text, all_references=True)
    labels = [t for i in range(len(blocks)) for t in blocks.sequence(i)[blocks.first_label[i] :]]
    eos = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    own = tokenizer("0123456789" * 2, add_special_tokens=False)["input_ids"] + eos
    assert labels == (own if begin else own[1:]), "each token once"
    assert all(blocks.sequence(i)[: len(begin)].tolist() == begin for i in range(len(blocks)))
    packed = encode(
        [Example("", ("abc",)), Example("", ("de",))],
        tokenizer,
        config(**PLAIN, packing="stream"),
        all_references=True,
    )
    ids = tokenizer.encode("abc") + eos + tokenizer.encode("de") + eos
    assert packed.sequence(0).tolist() == ids


def test_nothing_that_a_text_brings_is_written_twice(tokenizer, silent, jsonl, config):
    rows = [{"prompt": "p", "answer": "ok </s>", "text": "<s>[INST] p [/INST] ok </s>"}]
    one = dict(train=jsonl("a.jsonl", rows), validation="a.jsonl", test_fraction=0.0)
    data = config(**one, prompt_template="<s>[INST] {prompt} [/INST]")
    for model in (tokenizer, silent):
        (example,) = read_splits(data).train
        encoded = encode([example], model, data, all_references=True)
        assert spelled(encoded, model) == ("<s>[INST] p [/INST]", "ok</s>")
        assert encoded.label_bytes.tolist() == [2]
        assert encoded.counts["values_with_own_begin_or_end"] >= 1
        (asked,) = prompts([example], model, data, reserve=8)
        assert model.decode(asked) == "<s>[INST] p [/INST]"
        assert as_scored([example], model, data)[0].references == ("ok",)
        text = config(**one, **PLAIN)
        encoded = encode(read_splits(text).train, model, text, all_references=True)
        assert spelled(encoded, model) == ("<s>", "[INST] p [/INST] ok </s>")
    turns = "<s>[INST] a [/INST] b </s><s>[INST] c [/INST] d </s>"
    ids = encode_documents([turns], tokenizer, 99).sequence(0).tolist()
    assert ids == tokenizer(turns, add_special_tokens=False)["input_ids"][:-1], "ready-made text"


STRUCK = "was <s>30</s> now 3"


def test_special_tokens_in_values_are_text(tokenizer, jsonl, config):
    row = {"prompt": "a<s>b", "answer": STRUCK, "text": STRUCK}
    one = dict(train=jsonl("a.jsonl", [row]), validation="a.jsonl", test_fraction=0.0)
    special = {tokenizer.bos_token_id, tokenizer.eos_token_id}
    data = config(**one, prompt_template="<s>[{prompt}]</s>")
    (example,) = read_splits(data).train
    encoded = encode([example], tokenizer, data, all_references=True)
    assert spelled(encoded, tokenizer) == ("<s>[a<s>b]</s>", STRUCK + "</s>")
    assert encoded.label_bytes.tolist() == [len(STRUCK)]
    assert encoded.counts["values_with_special_tokens_as_text"] == 2
    places = [i for i, token in enumerate(encoded.sequence(0)) if token in special]
    n_prompt = int(encoded.first_label[0])
    assert places == [0, n_prompt - 1, len(encoded.sequence(0)) - 1], "the template's and the end"
    assert as_scored([example], tokenizer, data)[0] == example
    for text in (STRUCK, "<s>old</s> new", "all of it is <s>old</s>"):
        whole = encode_documents([text], tokenizer, 64)
        assert tokenizer.decode(whole.sequence(0)) == "<s>" + text
        assert not special & set(whole.sequence(0)[1:].tolist())
        assert whole.label_bytes.tolist() == [len(text)]
    everything = config(**one, **PLAIN, packing="stream")
    stream = encode(read_splits(everything).train, tokenizer, everything, all_references=True)
    assert stream.label_bytes.tolist() == [len(STRUCK)]


def test_values_without_special_tokens_are_the_tokenizers_own(tokenizer_builtin):
    """And marked ones have the tokens that `split_special_tokens` gives."""
    specials = SpecialTokens(tokenizer_builtin)
    for text in (STRUCK, "Größe </s>😀<pad> x", "<s><s>"):
        ids, places = specials.tokens(specials.value(text))
        own = tokenizer_builtin(text, add_special_tokens=False, split_special_tokens=True)
        assert ids == own["input_ids"] and places is not None
        assert np.diff([begin for begin, _ in places]).min() >= 0
        assert specials.restored(specials.value(text)) == text
    assert tokenizer_builtin("</s>")["input_ids"][-1] == tokenizer_builtin.eos_token_id
