"""Texts go on as it was asked, whatever a model's own files would have."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from harness import builtin
from harness.models.cached.continuing import continued


class Poison:
    """A value that nobody may look at."""

    def __bool__(self):
        raise AssertionError("the model's own generation config was read")

    __eq__ = __lt__ = __gt__ = __iter__ = __len__ = __int__ = __float__ = __bool__
    __hash__ = None


FIELDS = sorted(name for name in GenerationConfig().to_dict() if name != "transformers_version")


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(builtin.MODEL, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def text():
    return AutoTokenizer.from_pretrained(builtin.MODEL)("The mill", return_tensors="pt")


def answer(model, text, **options):
    ids, mask = text["input_ids"], text["attention_mask"]
    return continued(model, ids, mask, max_new_tokens=4, pad_token_id=0, **options)[0].tolist()


@pytest.mark.parametrize("beams", [1, 2])
def test_no_field_of_the_generation_config_is_read(model, text, beams):
    plain, kept = answer(model, text, num_beams=beams), model.generation_config
    for field in FIELDS:
        own = GenerationConfig()
        setattr(own, field, Poison())
        model.generation_config = own
        assert answer(model, text, num_beams=beams) == plain, field
        assert model.generation_config is own, "and it is put back"
    model.generation_config = kept


def test_files_that_models_ship_change_no_answer(model, text, tmp_path):
    plain = answer(model, text)
    said = plain[text["input_ids"].shape[1] :]
    shutil.copytree(builtin.MODEL, tmp_path, dirs_exist_ok=True)
    shipped = {
        **{"suppress_tokens": said, "bad_words_ids": [[said[0]]], "forced_eos_token_id": 1},
        **{"max_time": 1e-6, "stop_strings": ["a", "e", " "], "return_dict_in_generate": True},
        **{"repetition_penalty": 3.0, "no_repeat_ngram_size": 1, "min_length": 50, "num_beams": 3},
        **{"do_sample": True, "temperature": 9.0, "eos_token_id": said, "max_length": 3},
    }
    (tmp_path / "generation_config.json").write_text(json.dumps(shipped))
    assert answer(AutoModelForCausalLM.from_pretrained(tmp_path).eval(), text) == plain
