"""Keys as conf/ explains them: each with its own comment, and what methods set instead."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from harness.__main__ import main
from harness.compose import override_grammar
from harness.compose.command_line import compose_trial, conf_dir
from harness.compose.key_comments import description, explain, key_comments


def test_every_key_that_hydra_composes_is_found():
    composed = set(override_grammar.keys_of(OmegaConf.create(dict(compose_trial([])[1]))))
    found = {entry.key for entry in key_comments(conf_dir())}
    groups = {key.split(".")[0] for key in found}
    assert "training.learning_rate" in composed & found
    assert not composed - found - groups


def test_most_keys_are_explained():
    common = [e for e in key_comments(conf_dir()) if not e.choice and e.default]
    unexplained = [e.key for e in common if not e.comment]
    assert len(common) > 150
    assert len(unexplained) < len(common) / 3, unexplained


def test_comments_above_beside_and_below_belong_to_their_key(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "# About the file.\ndefaults: [x]\n\n# Above,\n# in two lines.\na: 1\nb: '#2' # beside\n"
        "c: # a group\n  d: 3 # begun\n    # and continued\n  # of e\n  e: 4\nf: null\n"
    )
    found = {e.key: (e.default, e.comment) for e in key_comments(tmp_path)}
    assert found == {
        "a": ("1", "Above, in two lines."),
        "b": ("'#2'", "beside"),
        "c": ("", "a group"),
        "c.d": ("3", "begun and continued"),
        "c.e": ("4", "of e"),
        "f": ("null", ""),
    }
    assert description(tmp_path / "config.yaml") == "About the file."


def test_what_a_method_sets_instead_is_said():
    text = explain("training.learning_rate", conf_dir())
    assert text.startswith("training.learning_rate=2e-4\n  the highest")
    assert "method=full:              1e-5, searched in tag(log, interval(1e-6, 1e-4))" in text


@pytest.mark.parametrize("command", ["sweep", "trial", "evaluate"])
def test_help_of_a_key_is_that_key_alone(command, capsys):
    assert main([command, "--help", "limits.minutes"]) == 0
    assert capsys.readouterr().out == "limits.minutes=null\n"
    assert main([command, "retention", "-h"]) == 0
    assert capsys.readouterr().out.count("retention.") == 7


def test_an_unknown_key_gets_the_nearest(capsys):
    assert main(["sweep", "--help", "training.learnig_rate"]) == 2
    error = capsys.readouterr().err
    assert "Unknown key 'training.learnig_rate'. Did you mean training.learning_rate" in error
