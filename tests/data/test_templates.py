"""Chat templates: what they write by themselves, what they are given, and what they leave out."""

from __future__ import annotations

import copy
import json

import pytest

from harness.config import DataConfig
from harness.data.rows.conversations import Turn
from harness.data.rows.splits import read_splits
from harness.data.tokens.chat import ends_of_answers
from harness.data.tokens.encode import encode, encode_prompts, prompts
from harness.data.tokens.encode_chats import as_scored
from harness.data.tokens.questions import questions
from harness.data.tokens.written_form import how_written
from harness.errors import InputError

HEAD = "{% for m in messages %}<|im_start|>{{ m.role }}\n"
FOOT = (
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)
# As Qwen3's: an empty thought before the last answer, the prompt's own where thinking is off.
QWEN = (
    HEAD
    + "{% if m.role == 'assistant' and loop.last %}<think>\n{{ m.reasoning_content | default('') }}\n"
    + "</think>\n\n{% endif %}{{ m.content }}"
    + "{% for call in m.tool_calls | default([]) %}\n<tool_call>{{ call.name }}</tool_call>{% endfor %}"
    + FOOT
)
# As gpt-oss has it: channels, and an end of its own for the last turn.
HARMONY = (
    "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final"
    "{% endif %}<|message|>{{ m.content }}"
    "{{ '<|return|>' if loop.last and m.role == 'assistant' else '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
GLM = (
    "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{% if m.role == 'assistant' %}"
    "<think></think>\n{% endif %}{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
PLAIN = HEAD + "{{ m.content }}" + FOOT
MARKED = HEAD + (
    "{% if m.role == 'assistant' %}{% generation %}<think>\n\n</think>\n\n{{ m.content }}<|im_end|>\n"
    "{% endgeneration %}{% else %}{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|start|>", "<|end|>", "<|return|>", "<|message|>"]
SPECIAL += ["<|channel|>", "[gMASK]", "<sop>", "<|user|>", "<|assistant|>"]
ASKED = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A think"}]


@pytest.fixture(scope="module")
def chatty(tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
    return tokenizer


@pytest.fixture
def talk(jsonl, config, here):
    def read(template: str, *conversations: list, row: dict | None = None, **changes):
        (here / "chat.jinja").write_text(template, encoding="utf-8")
        rows = [{"messages": turns} | (row or {}) for turns in conversations]
        given = dict(train=jsonl("talk.jsonl", rows), validation="talk.jsonl", test_fraction=0.0)
        columns = dict(messages_column="messages", prompt_column=None, answer_column=None)
        own = dict(chat_template="chat.jinja", max_length=512)
        data: DataConfig = config(**(given | columns | own | changes))
        return data, read_splits(data)

    return read


def learned(encoded, tokenizer, index: int = 0) -> str:
    pairs = zip(encoded.sequence(index), encoded.labels(index), strict=True)
    return tokenizer.decode([token for token, is_label in pairs if is_label])


@pytest.mark.parametrize(
    ("template", "prompt", "answer"),
    [
        (QWEN, "<|im_start|>assistant\n<think>\n\n</think>\n\n", "A think<|im_end|>"),
        (MARKED, "<|im_start|>assistant\n<think>\n\n</think>\n\n", "A think<|im_end|>\n"),
        (HARMONY, "<|start|>assistant<|channel|>final<|message|>", "A think<|return|>"),
        (GLM, "<|assistant|>\n<think></think>\n", "A think</s>"),
    ],
    ids=["qwen", "marked", "harmony", "glm"],
)
def test_the_templates_own_words_are_prompt(chatty, talk, template, prompt, answer):
    """In training, in generation, in drift and in questions alike."""
    data, splits = talk(template, ASKED)
    encoded = encode(splits.train, chatty, data, all_references=True)
    assert learned(encoded, chatty) == answer
    assert encoded.label_bytes.tolist()[0] in (len("A think"), len("A think<|im_end|>\n"))
    (asked,) = prompts(splits.train, chatty, data, reserve=16)
    assert chatty.decode(asked).endswith("Q" + chatty.decode(asked).split("Q")[1])
    assert chatty.decode(asked).endswith(prompt)
    assert encoded.sequence(0)[: len(asked)].tolist() == asked.tolist()
    drift = encode_prompts(splits.train, chatty, data)
    assert drift is not None and drift.sequence(0).tolist() == asked.tolist()
    (question,), about = questions(["Q"], chatty, data)
    assert question.tolist() == asked.tolist() and "after" in about
    end = chatty.convert_tokens_to_ids(answer.strip().removeprefix("A think"))
    assert end in ends_of_answers(chatty, data)[0]


def test_template_arguments_reach_the_template(chatty, talk):
    data, splits = talk(QWEN, ASKED, template_arguments={"enable_thinking": False})
    (asked,) = prompts(splits.train, chatty, data, reserve=16)
    assert chatty.decode(asked).endswith("assistant\n<think>\n\n</think>\n\n")
    own = chatty.apply_chat_template(
        ASKED[:1],
        chat_template=QWEN,
        add_generation_prompt=True,
        enable_thinking=False,
        return_dict=False,
    )
    assert asked.tolist() == own
    assert "enable_thinking" in questions(["Q"], chatty, data)[1]
    for bad in ({"messages": []}, {"x": {"y": {1, 2}}}):
        with pytest.raises(InputError, match=r"^data\.template_arguments\.\w+="):
            talk(QWEN, ASKED, template_arguments=bad)


@pytest.mark.parametrize("mark", [{"weight": 0}, {"train": False}, {"loss_mask": "0"}])
@pytest.mark.parametrize("loss_on", ["answer", "all"])
def test_turns_that_are_not_to_be_learned(chatty, talk, mark, loss_on):
    turns = [*ASKED[:1], {"role": "assistant", "content": "wrong"} | mark, *ASKED]
    last = {"role": "assistant", "content": "worse", "training": False}
    data, splits = talk(PLAIN, [*turns, {"role": "user", "content": "?"}, last], loss_on=loss_on)
    assert splits.train[0].references == ("A think",) and splits.counts["train_turns_not_learned"]
    encoded = encode(splits.train, chatty, data, all_references=True)
    assert "wrong" in chatty.decode(encoded.sequence(0))
    assert "w" not in learned(encoded, chatty) and "A think<|im_end|>" in learned(encoded, chatty)
    _, only = talk(PLAIN, ASKED, [ASKED[0], ASKED[1] | mark])
    assert len(only.train) == 1, "without a turn to learn there is no answer"


def test_what_a_turn_says_besides_is_written_or_refused(chatty, talk):
    call = [{"name": "look", "arguments": {}}]
    tool = {"role": "tool", "content": "22", "tool_call_id": "1"}
    calling = [ASKED[0], {"role": "assistant", "content": None, "tool_calls": call}, tool]
    thinking = {"role": "assistant", "content": "42", "reasoning_content": "hm"}
    data, splits = talk(QWEN, [*calling, thinking])
    encoded = encode(splits.train, chatty, data, all_references=True)
    text = chatty.decode(encoded.sequence(0))
    assert "<tool_call>look</tool_call><|im_end|>\n<|im_start|>tool\n22<|im_end|>" in text
    assert learned(encoded, chatty).endswith("hm\n</think>\n\n42<|im_end|>")
    assert encoded.counts["turn_fields_left_out.tool_call_id"] == 1
    (asked,) = prompts(splits.train, chatty, data, reserve=16)
    assert chatty.decode(asked).endswith("<|im_start|>assistant\n<think>\n")
    assert as_scored(splits.train, chatty, data)[0].references == ("hm\n</think>\n\n42",)
    for turns, row, what in (
        ([*calling, ASKED[1]], {}, "'tool_calls'"),
        ([ASKED[0], thinking], {}, "'reasoning_content'"),
        (ASKED, {"tools": json.dumps(call)}, "'tools'"),
    ):
        data, splits = talk(PLAIN, turns, row=row)
        with pytest.raises(
            InputError, match=f"has the field {what}, which the chat template does not"
        ):
            encode(splits.train, chatty, data, all_references=True)
    two = "{% for m in messages if m.role != 'system' %}{{ m.content }}<|im_end|>{% endfor %}"
    data, splits = talk(two, [{"role": "system", "content": "Hush."}, *ASKED])
    with pytest.raises(InputError, match="leaves out turn 1 of a conversation of system, user"):
        encode(splits.train, chatty, data, all_references=True)


def test_tools_of_a_row_reach_the_template(chatty, talk):
    template = "{% for t in tools or [] %}{{ t.name }};{% endfor %}" + PLAIN
    data, splits = talk(template, ASKED, row={"tools": [{"name": "look"}]})
    encoded = encode(splits.train, chatty, data, all_references=True)
    assert chatty.decode(encoded.sequence(0)).startswith("look;<|im_start|>user")
    assert splits.train[0].turns[0] == Turn("user", "Q", fields='{"tools": [{"name": "look"}]}')


def test_special_tokens_in_turns_are_text(chatty, talk):
    turns = [
        {"role": "user", "content": "say <|im_end|>\n<|im_start|>system"},
        {"role": "assistant", "content": "<s>a</s> <|im_end|> b<|im_end|>"},
    ]
    data, splits = talk(PLAIN, turns)
    encoded = encode(splits.train, chatty, data, all_references=True)
    said = "<s>a</s> <|im_end|> b"
    assert learned(encoded, chatty) == said + "<|im_end|>"
    assert encoded.label_bytes.tolist() == [len(said)]
    ends = encoded.sequence(0) == chatty.convert_tokens_to_ids("<|im_end|>")
    assert ends.sum() == 2, "one a turn"
    assert chatty.bos_token_id not in encoded.sequence(0)
    assert encoded.counts["values_with_special_tokens_as_text"] == 2
    assert as_scored(splits.train, chatty, data)[0].references == (said,)


def test_how_prompts_are_written_is_said(chatty, talk, config, tokenizer):
    data, _ = talk(QWEN, ASKED, template_arguments={"n": 1})
    said = how_written(chatty, data)
    assert said["before_an_answer"] == "<think>\n\n</think>\n\n"
    assert (said["chat_template"], said["template_arguments"]) == (QWEN, {"n": 1})
    plain = how_written(tokenizer, config())
    assert (plain["texts_begin_with"], plain["texts_end_with"]) == ("<s>", "</s>")
    assert plain["prompt_template"] == "{prompt}\n" and "hint" not in plain
    chatty.chat_template = QWEN
    assert "data.chat=true" in how_written(chatty, config())["hint"]
    chatty.chat_template = None
