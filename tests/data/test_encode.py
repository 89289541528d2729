from __future__ import annotations

import copy
import dataclasses
import os
import signal

import numpy as np
import pytest

from harness.data.rows.example import Example
from harness.data.tokens.columns import Columns
from harness.data.tokens.encode import Encoded, encode, encode_documents, pad_id, prompts
from harness.data.tokens.special_tokens import SpecialTokens
from harness.data.tokens.token_cache import cached_encode, tokenizer_fingerprint
from harness.data.tokens.tokenization import tokenize
from harness.errors import InputError

PAIRS = (Example("ask:", ("yes", "no!")), Example("é:", ("ü😀",)))


def spelled(encoded: Encoded, tokenizer, index: int) -> tuple[str, str]:
    """A sequence as the text before its first label and the text of its labels."""
    ids, first = encoded.sequence(index), encoded.first_label[index]
    return tokenizer.decode(ids[:first]), tokenizer.decode(ids[first:])


def all_spelled(encoded: Encoded, tokenizer) -> list[tuple[str, str]]:
    return [spelled(encoded, tokenizer, index) for index in range(len(encoded))]


def same(a: Encoded, b: Encoded) -> bool:
    return all(
        np.array_equal(getattr(a, field.name), getattr(b, field.name))
        for field in dataclasses.fields(Encoded)
    )


def test_loss_on_the_answer(tokenizer, config):
    encoded = encode(PAIRS, tokenizer, config(), all_references=True)
    assert all_spelled(encoded, tokenizer) == [
        ("<s>ask:", "yes</s>"),
        ("<s>ask:", "no!</s>"),
        ("<s>é:", "ü😀</s>"),
    ]
    assert encoded.example.tolist() == [0, 0, 1]
    assert encoded.label_bytes.tolist() == [3, 3, 6]
    assert encoded.lengths.tolist() == [9, 9, 11]
    assert encoded.tokens.dtype == np.int32
    assert encoded.counts == {
        "n_too_long": 0,
        "longest_tokens": 11,
        "too_long": "truncate",
        "n_sequences": 3,
        "n_dropped": 0,
        "tokens": 29,
        "label_tokens": 4 + 4 + 7,
    }
    first = encode(PAIRS, tokenizer, config(), all_references=False)
    assert first.example.tolist() == [0, 1]
    assert spelled(first, tokenizer, 0) == ("<s>ask:", "yes</s>")


def test_loss_on_all(tokenizer, bare_tokenizer, config):
    encoded = encode(PAIRS, tokenizer, config(loss_on="all"), all_references=False)
    assert all_spelled(encoded, tokenizer) == [("<s>", "ask:yes</s>"), ("<s>", "é:ü😀</s>")]
    assert encoded.label_bytes.tolist() == [7, 9]
    encoded = encode(PAIRS[:1], bare_tokenizer, config(loss_on="all"), all_references=False)
    assert all_spelled(encoded, bare_tokenizer) == [("a", "sk:yes")]
    assert encoded.label_bytes.tolist() == [6], "nothing predicts the first token"


def test_without_bos_eos_and_pad(bare_tokenizer, config):
    encoded = encode(PAIRS, bare_tokenizer, config(), all_references=True)
    assert all_spelled(encoded, bare_tokenizer) == [
        ("ask:", "yes"),
        ("ask:", "no!"),
        ("é:", "ü😀"),
    ]
    empty = [Example("", ("yes",)), Example("", ("n",))]
    encoded = encode(empty, bare_tokenizer, config(), all_references=True)
    assert all_spelled(encoded, bare_tokenizer) == [("y", "es")]
    assert encoded.label_bytes.tolist() == [2]
    assert encoded.counts["n_dropped"] == 1, "one token, and nothing to predict it from"
    assert pad_id(bare_tokenizer) == 0
    with pytest.raises(
        InputError, match=r"^The prompt '' has no tokens, and this tokenizer adds none"
    ):
        prompts(empty, bare_tokenizer, config(), reserve=8)


LONG = (
    Example("0123456789:", ("ab",)),  # 15 tokens: the prompt's left goes
    Example("0:", ("abcdefghij",)),  # 14 tokens: the prompt to its last token, then the answer
    Example("0:", ("abcd",)),  # 8 tokens: fits exactly
    Example("01:", ("äöüß",)),  # 13 tokens
)


def test_parts_of_a_text_are_the_same_where_places_are_found_later(tokenizer):
    texts = ["Grüße aus der Nähe 🙂 und 東京", "a b c", "", "x" * 50]
    specials = SpecialTokens(tokenizer)
    kept, later = (tokenize(texts, tokenizer, specials, in_parts=each) for each in (True, False))
    for text in texts:
        expected = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert kept[text].ids == later[text].ids == expected
        assert kept[text].bytes_of_each() == later[text].bytes_of_each()
        assert sum(later[text].bytes_of_each()) == len(text.encode())


def test_a_tokenizer_with_steps_of_its_own_takes_them(tokenizer):
    class Lower(type(tokenizer)):
        def __call__(self, texts, **options):
            return super().__call__([text.lower() for text in texts], **options)

    own = copy.deepcopy(tokenizer)
    own.__class__ = Lower
    parts = tokenize(["The Mill", "A"], own, SpecialTokens(tokenizer))
    assert parts["The Mill"].ids == tokenizer("the mill", add_special_tokens=False)["input_ids"]


def test_truncation(tokenizer, config):
    encoded = encode(LONG, tokenizer, config(max_length=8), all_references=True)
    assert all_spelled(encoded, tokenizer) == [
        ("<s>789:", "ab</s>"),
        ("<s>:", "abcdef"),
        ("<s>0:", "abcd</s>"),
        ("<s>:", "äöü"),
    ]
    assert encoded.label_bytes.tolist() == [2, 6, 4, 6]
    assert encoded.counts["n_too_long"] == 3
    assert encoded.counts["longest_tokens"] == 15
    assert encoded.counts["n_dropped"] == 0
    on_all = encode(LONG, tokenizer, config(max_length=8, loss_on="all"), all_references=True)
    assert on_all.label_bytes.tolist() == [6, 7, 6, 7]
    assert all(encoded.lengths == 8)


def test_too_long_dropped_or_refused(tokenizer, config):
    few = config(max_length=8, too_long="drop")
    encoded = encode(LONG, tokenizer, few, all_references=True)
    assert encoded.example.tolist() == [2]
    assert (encoded.counts["n_too_long"], encoded.counts["n_dropped"]) == (3, 3)
    with pytest.raises(InputError) as error:
        encode(LONG, tokenizer, config(max_length=8, too_long="error"), all_references=True)
    assert str(error.value) == (
        "3 of 4 sequences are longer than data.max_length=8 tokens; the longest has 15. "
        "Raise data.max_length, or set data.too_long to truncate or drop."
    )
    with pytest.raises(InputError, match=r"^None of 1 sequences can be used: 1 are too long \(the"):
        encode(LONG[:1], tokenizer, few, all_references=True)


TEXT = "Ein Öl, zwei Öle, drei Öle. 😀😀😀 Und aus."


@pytest.mark.parametrize("max_length", [8, 9, 13, 64])
@pytest.mark.parametrize("bare", [False, True])
def test_long_documents_lose_nothing(tokenizer, bare_tokenizer, config, max_length, bare):
    tokenizer = bare_tokenizer if bare else tokenizer
    text = config(prompt_column=None, answer_column=None, text_column="t", max_length=max_length)
    documents = [Example("", (TEXT,)), Example("", ("short",))]
    encoded = encode(documents, tokenizer, text, all_references=True)
    assert encoded.lengths.max() <= max_length and all(encoded.first_label == 1)
    for index, document in enumerate((TEXT, "short")):
        mine = np.flatnonzero(encoded.example == index)
        labels = np.concatenate([encoded.sequence(i)[1:] for i in mine])
        ids = tokenizer(document, add_special_tokens=False)["input_ids"]
        n_bytes = len(document.encode())
        if bare:
            assert labels.tolist() == ids[1:]
            assert encoded.label_bytes[mine].sum() == n_bytes - 1
        else:
            assert labels.tolist() == [*ids, tokenizer.eos_token_id]
            assert encoded.label_bytes[mine].sum() == n_bytes
            assert all(encoded.sequence(i)[0] == tokenizer.bos_token_id for i in mine)
    assert encoded.counts["n_too_long"] == (max_length < 64)


def test_general_documents(tokenizer, bare_tokenizer):
    encoded = encode_documents(["abc", "0123456789"], tokenizer, 8)
    assert all_spelled(encoded, tokenizer) == [("<s>", "abc"), ("<s>", "0123456")]
    assert encoded.label_bytes.tolist() == [3, 7]
    assert (encoded.counts["n_too_long"], encoded.counts["longest_tokens"]) == (1, 11)
    encoded = encode_documents(["abc", "x"], bare_tokenizer, 8)
    assert all_spelled(encoded, bare_tokenizer) == [("a", "bc")]
    assert encoded.label_bytes.tolist() == [2]
    assert encoded.counts["n_dropped"] == 1


def test_prompts_for_generation(tokenizer, bare_tokenizer, config):
    found = prompts(LONG, tokenizer, config(max_length=12), reserve=6)
    assert [tokenizer.decode(ids) for ids in found] == ["<s>6789:", "<s>0:", "<s>0:", "<s>01:"]
    found = prompts(LONG, bare_tokenizer, config(max_length=12), reserve=6)
    assert [bare_tokenizer.decode(ids) for ids in found] == ["56789:", "0:", "0:", "01:"]
    with pytest.raises(InputError) as error:
        prompts(LONG, tokenizer, config(max_length=12), reserve=11)
    assert str(error.value) == (
        "data.max_length=12 leaves no room for a prompt before 11 generated tokens. "
        "Raise it, or lower evaluation.max_new_tokens."
    )


def test_training_and_generation_see_the_same_prompt(tokenizer, config):
    encoded = encode(PAIRS, tokenizer, config(), all_references=False)
    for index, ids in enumerate(prompts(PAIRS, tokenizer, config(), reserve=16)):
        assert encoded.sequence(index)[: encoded.first_label[index]].tolist() == ids.tolist()


def test_cache(tmp_path, tokenizer, bare_tokenizer, config, monkeypatch):
    first = cached_encode(tmp_path, PAIRS, tokenizer, config(), all_references=True)
    (path,) = tmp_path.iterdir()
    with monkeypatch.context() as patched:
        patched.setattr("harness.data.tokens.token_cache.encode", None)  # not called again
        again = cached_encode(tmp_path, PAIRS, tokenizer, config(), all_references=True)
        tokenizer(["a", "bc"], padding=True)  # leaves state behind in the tokenizer
        cached_encode(tmp_path, PAIRS, tokenizer, config(train="x"), all_references=True)
    assert same(first, again) and same(
        first, encode(PAIRS, tokenizer, config(), all_references=True)
    )
    for file in sorted(path.iterdir()):
        whole = file.read_bytes()
        spoilt = bytes([whole[0] ^ 1, *whole[1:]])
        for broken in (None, b"", whole[:-4], spoilt, b"[1, 2]"):
            file.unlink() if broken is None else file.write_bytes(broken)
            made = cached_encode(tmp_path, PAIRS, tokenizer, config(), all_references=True)
            assert same(first, made), (file.name, broken)
            assert file.read_bytes() == whole

    for changes in ({"max_length": 32}, {"loss_on": "all"}, {"too_long": "drop"}):
        cached_encode(tmp_path, PAIRS, tokenizer, config(**changes), all_references=True)
    cached_encode(tmp_path, PAIRS, tokenizer, config(), all_references=False)
    cached_encode(tmp_path, PAIRS[:1], tokenizer, config(), all_references=True)
    cached_encode(tmp_path, PAIRS, bare_tokenizer, config(), all_references=True)
    assert len(list(tmp_path.iterdir())) == 7, (
        "each under a name of its own, none left half-written"
    )


def test_many_rows_are_encoded_as_one_by_one(tmp_path, tokenizer, config, monkeypatch):
    """In parts, into files: the tokens, labels and bytes of each row alone, in the same order."""
    monkeypatch.setattr("harness.data.tokens.encode.AT_ONCE", 7)
    monkeypatch.setattr("harness.data.tokens.encoded.AT_ONCE", 5)
    rows = [
        Example(
            f"{'é文 ' * (i % 5)}q{i % 4}\n", tuple(f"a{i} " * (j + 1) for j in range(i % 3 + 1))
        )
        for i in range(40)
    ]
    data = config(max_length=24)
    whole = cached_encode(tmp_path, rows, tokenizer, data, all_references=True)
    alone = [encode([row], tokenizer, data, all_references=True) for row in rows]
    assert not whole.tokens.flags.writeable, "a view of the files that all processes share"
    for name in ("tokens", "first_label", "label_bytes", "lengths"):
        wanted = np.concatenate([getattr(one, name) for one in alone])
        assert np.array_equal(getattr(whole, name), wanted), name
    assert whole.example.tolist() == [i for i, one in enumerate(alone) for _ in range(len(one))]
    assert whole.counts["label_tokens"] == sum(one.counts["label_tokens"] for one in alone)


def test_a_process_killed_while_it_writes_leaves_no_tokens(
    tmp_path, tokenizer, config, monkeypatch
):
    monkeypatch.setattr("harness.data.tokens.encoded.AT_ONCE", 2)
    rows = [Example("q:", (f"a{i}",)) for i in range(9)]
    child = os.fork()
    if child == 0:
        append = Columns.append

        def killed_after(columns, part):
            append(columns, part)
            os.kill(os.getpid(), signal.SIGKILL)

        monkeypatch.setattr(Columns, "append", killed_after)
        cached_encode(tmp_path, rows, tokenizer, config(), all_references=True)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".") and left.name.endswith(".tmp")
    made = cached_encode(tmp_path, rows, tokenizer, config(), all_references=True)
    assert same(made, encode(rows, tokenizer, config(), all_references=True))


def test_tokenizer_fingerprint(tokenizer, bare_tokenizer):
    assert tokenizer_fingerprint(tokenizer) == tokenizer_fingerprint(tokenizer)
    assert tokenizer_fingerprint(tokenizer) != tokenizer_fingerprint(bare_tokenizer)
