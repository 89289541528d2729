"""The card of a base: what it says, and nothing where it does not say it."""

from __future__ import annotations

from dataclasses import replace

from harness.models.loading.base_card import BaseCard, parsed, read_base_card

CARD = """\
---
license: other
license_name: tiny-license
license_link: https://example.org/license
language:
- en
- no
datasets:
- someone/tales
---
# Tiny

## Training Data
Tales of the sea, <!-- not shown --> written by hand.

### How much
A little.

## Bias, Risks, and Limitations

It knows ships only.

## Training procedure
Slowly.
"""


def test_what_a_card_says():
    card = parsed(CARD)
    assert (card.licence, card.licence_name) == ("other", "tiny-license")
    assert card.licence_link == "https://example.org/license"
    assert card.languages == ("en", "no")  # Norwegian, which YAML reads as false
    assert card.datasets == ("someone/tales",)
    assert card.training_data == "Tales of the sea, written by hand. A little."
    assert card.biases == "It knows ships only."


def test_what_it_does_not_say_and_what_cannot_be_read():
    assert parsed("# Model\nA model.\n") == BaseCard()
    empty = parsed("## Bias, Risks, and Limitations\n\n[More Information Needed]\n")
    assert empty.biases is None
    torn = parsed("---\nlicense: [mit\n---\n## Limitations\nFew.\n")
    assert torn.licence is None and torn.biases == "Few."
    long = parsed("## Limitations\n" + "word " * 1000).biases
    assert len(long) < 620 and long.endswith(" …")


def test_only_a_card_on_this_machine_is_read(model_config, tmp_path):
    card = read_base_card(model_config)  # of the built-in model
    assert card is not None and card.licence == "apache-2.0" and card.languages == ("en",)
    assert "the Vale" in str(card.training_data) and "invented" in str(card.biases)
    local = replace(model_config, name=str(tmp_path))
    assert read_base_card(local) is None
    (tmp_path / "README.md").write_text(CARD)
    assert read_base_card(local) == parsed(CARD)
    assert read_base_card(replace(model_config, name="nobody/nothing", revision=None)) is None


def test_a_card_is_described_with_what_it_leaves_open():
    said = parsed(CARD.replace("ships", "ships\x1b[2J")).described()
    assert said == {
        "licence": "tiny-license (https://example.org/license)",
        "languages": "en, no",
        "training data": "Tales of the sea, written by hand. A little.",
        "biases and limitations": "It knows ships [2J only.",  # nothing that a terminal obeys
    }
    assert set(BaseCard().described().values()) == {"unknown"}
