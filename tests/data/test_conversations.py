"""Conversations: what the assistant says is learned, after the tokens that generation begins from."""

from __future__ import annotations

import copy
import random
from pathlib import Path

import numpy as np
import pytest

from harness.data.rows.splits import read_splits
from harness.data.tokens.chat import ChatFormat
from harness.data.tokens.encode import encode, encode_prompts, prompts
from harness.errors import InputError

CHATML = """\
{% for message in messages %}<|im_start|>{{ message['role'] }}
{{ message['content'] | trim }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
MARKED = """\
{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}<|im_start|>assistant
{% generation %}{{ message['content'] }}<|im_end|>{% endgeneration %}
{% else %}<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
UNMARKED = MARKED.replace("{% generation %}", "").replace("{% endgeneration %}\n", "")
# As reasoning models have it: what an earlier turn thought is dropped once others follow.
FORGETFUL = CHATML.replace(
    "{{ message['content'] | trim }}",
    "{{ message['content'].split('</think>')[-1] if not loop.last else message['content'] }}",
)
# No mark of an end, and spaces where a tokenizer may put a word together across the border.
PLAIN = """\
{{ bos_token }}{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}
{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"""
HEADLESS = "{% for message in messages %}{{ message['content'] }}{% endfor %}" + (
    "{% if add_generation_prompt %}<think>{% endif %}"
)
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": "Änn."},
    {"role": "user", "content": "Where?"},
    {"role": "assistant", "content": "Here 😀"},
]


@pytest.fixture(scope="module")
def chat_tokenizer(tokenizer):
    """One token a byte, and the marks of ChatML."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return tokenizer


@pytest.fixture
def talk(jsonl, config, here):
    """`talk(conversations, template, ...)`: config and splits."""

    def read(conversations: list, template: str | None = CHATML, **changes):
        if template is not None:
            (here / "chat.jinja").write_text(template, encoding="utf-8")
            changes["chat_template"] = "chat.jinja"
        name = jsonl("talk.jsonl", [{"messages": turns} for turns in conversations])
        columns = dict(messages_column="messages", prompt_column=None, answer_column=None)
        given = dict(train=name, validation=name, test_fraction=0.0, max_length=512)
        data = config(**(given | columns | changes))
        return data, read_splits(data)

    return read


def said(encoded, tokenizer, index: int = 0) -> list[str]:
    """The texts of the runs of labels of a sequence."""
    ids, labels = encoded.sequence(index), encoded.labels(index)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], labels.astype(int), [0]])))
    return [tokenizer.decode(ids[a:b]) for a, b in edges.reshape(-1, 2)]


def test_every_assistant_turn_is_learned(chat_tokenizer, talk):
    data, splits = talk([TALK])
    encoded = encode(splits.train, chat_tokenizer, data, all_references=True)
    assert said(encoded, chat_tokenizer) == ["Änn.<|im_end|>", "Here 😀<|im_end|>"]
    assert encoded.label_bytes.tolist() == [len("Änn.Here 😀".encode())]
    whole = chat_tokenizer.decode(encoded.sequence(0))
    assert whole.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?")
    assert encoded.n_labels.tolist() == [int(encoded.labels(0).sum())] == [16]
    data, splits = talk([TALK], only_last_answer=True)
    encoded = encode(splits.train, chat_tokenizer, data, all_references=True)
    assert said(encoded, chat_tokenizer) == ["Here 😀<|im_end|>"]
    data, splits = talk([TALK], loss_on="all")
    encoded = encode(splits.train, chat_tokenizer, data, all_references=True)
    assert encoded.labels(0).tolist() == [False] + [True] * (len(encoded.sequence(0)) - 1)


def test_evaluation_is_of_the_last_turn(chat_tokenizer, talk):
    data, splits = talk([TALK, [*TALK, {"role": "user", "content": "Thanks."}]])
    (example,) = splits.validation
    assert example.references == ("Here 😀",)
    assert example.prompt == "system: Be brief.\nuser: Who?\nassistant: Änn.\nuser: Where?"
    encoded = encode(splits.validation, chat_tokenizer, data, all_references=False)
    assert said(encoded, chat_tokenizer) == ["Here 😀<|im_end|>"]
    (asked,) = prompts(splits.validation, chat_tokenizer, data, reserve=16)
    assert encoded.sequence(0)[: encoded.first_label[0]].tolist() == asked.tolist()
    own = chat_tokenizer.apply_chat_template(
        TALK[:-1], chat_template=CHATML, add_generation_prompt=True, return_dict=False
    )
    assert asked.tolist() == own
    drift = encode_prompts(splits.validation, chat_tokenizer, data)
    assert drift is not None and drift.sequence(0).tolist() == own
    assert ChatFormat(chat_tokenizer, data).end() == (
        (chat_tokenizer.convert_tokens_to_ids("<|im_end|>"),),
        (),
    )


WORDS = ("a", "be", "see", "four", "fives", "öäü", "😀", "日本", "x1", "<b>", "{y}", "…", "end.")


def random_talk(rng: random.Random) -> list[dict]:
    def text() -> str:
        return rng.choice(["", " ", "\n"]).join(rng.choices(WORDS, k=rng.randint(1, 6))) + "."

    turns = [{"role": "system", "content": text()}] * rng.randint(0, 1)
    for _ in range(rng.randint(1, 4)):
        turns += [{"role": "user", "content": text()}, {"role": "assistant", "content": text()}]
    return turns


@pytest.mark.parametrize("template", [MARKED, UNMARKED], ids=["marked", "by prefix"])
@pytest.mark.parametrize("built_in", [False, True], ids=["bytes", "merges"])
def test_masks_are_transformers_own(chat_tokenizer, tokenizer_builtin, talk, template, built_in):
    """With `{% generation %}` and without it alike, against `return_assistant_tokens_mask`."""
    tokenizer = chat_tokenizer
    if built_in:
        tokenizer = copy.deepcopy(tokenizer_builtin)
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    rng = random.Random(0)
    talks = [random_talk(rng) for _ in range(40)]
    data, splits = talk(talks, template, max_length=4096)
    encoded = encode(splits.train, tokenizer, data, all_references=True)
    assert len(encoded) == 40
    for index, turns in enumerate(talks):
        own = tokenizer.apply_chat_template(
            turns, chat_template=MARKED, return_dict=True, return_assistant_tokens_mask=True
        )
        assert encoded.sequence(index).tolist() == own["input_ids"]
        assert encoded.labels(index).tolist() == [bool(m) for m in own["assistant_masks"]]
        assert own["input_ids"].count(tokenizer.bos_token_id) == 1, "bos is written once"
        words = "".join(t["content"] for t in turns if t["role"] == "assistant")
        assert encoded.label_bytes[index] == len(words.encode())
    for index, asked in enumerate(prompts(splits.train, tokenizer, data, reserve=1)):
        own = tokenizer.apply_chat_template(
            talks[index][:-1], chat_template=MARKED, add_generation_prompt=True, return_dict=False
        )
        assert asked.tolist() == own == encoded.sequence(index)[: len(own)].tolist()


def test_tokens_of_a_prompt_are_never_others_in_training(tokenizer_builtin, talk):
    """Where a word would grow together across the border, both sides are tokenized apart."""
    turns = [
        {"role": "user", "content": "Where"},
        {"role": "assistant", "content": "the man lives"},
        {"role": "user", "content": "when"},
        {"role": "assistant", "content": "the day"},
    ]
    data, splits = talk([turns], PLAIN)
    encoded = encode(splits.train, tokenizer_builtin, data, all_references=True)
    assert encoded.counts["prompts_tokenized_apart"] == 2
    (asked,) = prompts(splits.train, tokenizer_builtin, data, reserve=16)
    assert encoded.sequence(0)[: len(asked)].tolist() == asked.tolist()
    assert tokenizer_builtin.decode(encoded.sequence(0)) == (
        "<s>user: Where\nassistant: the man lives\nuser: when\nassistant: the day\n</s>"
    )
    assert said(encoded, tokenizer_builtin) == ["the man lives\n", "the day\n</s>"], (
        "without a mark of its own an answer ends with the text"
    )


def test_a_template_that_rewrites_earlier_turns_gives_a_sequence_a_turn(chat_tokenizer, talk):
    turns = [
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": "hm</think>one"},
        {"role": "user", "content": "2"},
        {"role": "assistant", "content": "ah</think>two"},
    ]
    data, splits = talk([turns], FORGETFUL)
    encoded = encode(splits.train, chat_tokenizer, data, all_references=True)
    assert [said(encoded, chat_tokenizer, i) for i in range(len(encoded))] == [
        ["hm</think>one<|im_end|>"],
        ["ah</think>two<|im_end|>"],
    ]
    assert "hm" not in chat_tokenizer.decode(encoded.sequence(1))
    assert encoded.counts["conversations_turn_by_turn"] == 1
    assert encoded.example.tolist() == [0, 0]


def test_what_is_too_long_loses_its_beginning(chat_tokenizer, talk):
    data, splits = talk([TALK], UNMARKED, max_length=40)
    encoded = encode(splits.train, chat_tokenizer, data, all_references=True)
    text = chat_tokenizer.decode(encoded.sequence(0))
    last = "<s><|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\n"
    assert text == last + "Here 😀<|im_end|>", "whole turns"
    assert encoded.counts["conversations_shortened"] == encoded.counts["n_too_long"] == 1
    (asked,) = prompts(splits.train, chat_tokenizer, data, reserve=17)
    assert chat_tokenizer.decode(asked) == last.replace("Where", "re"), "then the words of a turn"
    assert len(asked) == 23
    data, splits = talk([TALK], UNMARKED, max_length=40, too_long="drop")
    with pytest.raises(InputError, match="None of 1 sequences can be used: 1 are too long"):
        encode(splits.train, chat_tokenizer, data, all_references=True)


def test_prompt_and_answer_columns_become_two_turns(chat_tokenizer, jsonl, config, here):
    (here / "chat.jinja").write_text(CHATML)
    rows = [{"q": "Q?", "system": "S", "a": ["A", "B"]}, {"q": "R?", "system": None, "a": "C"}]
    name = jsonl("rows.jsonl", rows)
    data = config(
        train=name,
        validation=name,
        test_fraction=0.0,
        chat=True,
        chat_template="chat.jinja",
        prompt_column="q",
        answer_column="a",
        system_column="system",
        max_length=256,
    )
    splits = read_splits(data)
    encoded = encode(splits.train, chat_tokenizer, data, all_references=True)
    assert encoded.example.tolist() == [0, 0, 1]
    texts = [chat_tokenizer.decode(encoded.sequence(i)) for i in range(3)]
    head = (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert texts[:2] == [head + "A<|im_end|>\n", head + "B<|im_end|>\n"]
    assert texts[2].startswith("<|im_start|>user\nR?<|im_end|>")


def test_bad_templates_are_named(chat_tokenizer, tokenizer, talk, config, here):
    data, splits = talk([TALK], None)
    with pytest.raises(
        InputError, match=r"^This model's tokenizer has no chat template\. Give one"
    ):
        encode(splits.train, tokenizer, data, all_references=True)
    data, splits = talk([TALK], HEADLESS)
    with pytest.raises(InputError, match="does not begin with its prompt"):
        encode(splits.train, chat_tokenizer, data, all_references=True)
    strict = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
    data, splits = talk([TALK], strict + "{% endif %}{% endfor %}")
    with pytest.raises(
        InputError, match=r"cannot render a conversation of system, user.*no system"
    ):
        encode(splits.train, chat_tokenizer, data, all_references=True)
    with pytest.raises(InputError, match=r"^data\.chat_template='chat\.jinja', line 1: "):
        talk([TALK], "{% for %}")
    with pytest.raises(InputError, match=r"^data\.chat_template='no\.jinja'"):
        talk([TALK], None, chat_template="no.jinja")


def test_a_template_counts_by_its_content(talk):
    prints = [talk([TALK], template)[1].fingerprint for template in (CHATML, PLAIN, CHATML, None)]
    assert prints[0] == prints[2] and len(set(prints)) == 3


def test_a_template_cannot_reach_out(chat_tokenizer, talk):
    """It is rendered in transformers' sandbox."""
    data, splits = talk([TALK], "{{ messages.__class__.__mro__ }}{{ messages.append(1) }}")
    with pytest.raises(InputError, match="The chat template cannot render"):
        encode(splits.train, chat_tokenizer, data, all_references=True)


SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data does not lie beside this checkout")
def test_real_instructions(chat_tokenizer, config, here):
    (here / "chat.jinja").write_text(CHATML)
    data = config(
        source="json",
        train=str(SHARED / "instruct" / "instruction-data.json"),
        prompt_column="instruction",
        answer_column="output",
        prompt_template="{instruction}\n\n{input}",
        chat=True,
        chat_template="chat.jinja",
        max_length=4096,
    )
    splits = read_splits(data)
    encoded = encode(splits.train, chat_tokenizer, data, all_references=True)
    assert encoded.counts["n_dropped"] == encoded.counts["prompts_tokenized_apart"] == 0
    for index, example in enumerate(splits.train):
        (text,) = said(encoded, chat_tokenizer, index)
        assert text == example.references[0].strip() + "<|im_end|>"
    assert int(encoded.label_bytes.sum()) == sum(
        len(example.references[0].strip().encode()) for example in splits.train
    )
