"""Refused values of training.* and data.overlap*, with field, value and what is accepted."""

from __future__ import annotations

import pytest

from harness.errors import InputError


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.warmup_share=1.0", r"warmup_share=1\.0 .* null or a share in \[0, 1\)"),
        ("training.min_learning_rate_ratio=1", r"min_learning_rate_ratio=1\.0 .* a share"),
        ("training.momentum=1.5", r"momentum=1\.5 .* in \[0, 1\)"),
        ("training.nesterov=true", r"nesterov=True .* false where training\.momentum is 0"),
        ("training.neftune_alpha=-5", r"neftune_alpha=-5\.0 .* 0 \(off\) or above"),
        ("training.token_mask_probability=1", r"token_mask_probability=1\.0 .* a share"),
        ("training.loss_average=batch", r"loss_average='batch' .* one of token, sequence"),
        ("training.learning_rate_of={embed: 0}", r"learning_rate_of\.embed=0\.0 .* above 0"),
        ("training.learning_rate_of={embed: fast}", r"learning_rate_of\.embed='fast' .* number"),
        ("training.freeze_layers=['layers.(']", r"freeze_layers: 'layers\.\(' .* regular expr"),
        ("training.freeze_layers=['']", r"freeze_layers='' .* regular expression"),
        ("training.freeze_layers=embed", r"freeze_layers='embed' .* a list"),
        ("data.overlap_ngram=0", r"overlap_ngram=0 .* at least 1 word"),
        ("data.overlap_similarity=0.5", r"overlap_similarity=0\.5 .* \[0\.8, 1\]"),
        ("data.drop_overlap=test", r"drop_overlap='test' .* one of none, prompt, near, ngram"),
    ],
)
def test_refused(trial_config, override, message):
    with pytest.raises(InputError, match=message):
        trial_config("method=lora", override)


def test_accepted(trial_config):
    config = trial_config(
        "method=full",
        "training.learning_rate_of={embed_tokens: 1e-5, layers.0.: 2}",
        "training.freeze_layers=[norm]",
        "training.momentum=0.9",
        "training.nesterov=true",
    )
    assert config.training.learning_rate_of == {"embed_tokens": 1e-5, "layers.0.": 2.0}
    assert config.training.freeze_layers == ["norm"]
