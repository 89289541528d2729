"""Methods of installed packages: found by their entry point, refused with a reason."""

from __future__ import annotations

import textwrap

import pytest

from harness import methods
from harness.compose.command_line import compose_sweep
from harness.errors import InputError
from harness.methods.full import Full
from harness.methods.plugged_in import plugged_in

YAML = """\
# @package _global_
method: {name: halves, share: 0.5}
search: {space: {method.share: "choice(0.25, 0.5)"}}
training: {learning_rate: 1e-3}
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with one sound method and three that cannot be used."""
    (tmp_path / "halving.py").write_text(
        textwrap.dedent(
            """
            from dataclasses import dataclass
            from harness.methods import Method

            @dataclass(frozen=True)
            class Halves(Method):
                share: float

                def adapt(self, model, plan):
                    return model

            class NoMethod:
                pass
            """
        )
    )
    facts = tmp_path / "halving-1.2.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: halving\nVersion: 1.2\n")
    (facts / "entry_points.txt").write_text(
        "[harness.methods]\nhalves = halving:Halves\nfull = halving:Halves\n"
        "other = halving:NoMethod\nabsent = halving.absent:Absent\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return plugged_in({"full": Full})


def test_sound_methods_are_found_and_others_say_why_not(package):
    assert list(package.classes) == ["halves"]
    assert {name: text.split(": ", 1)[1] for name, text in package.problems.items()} == {
        "absent": "ModuleNotFoundError: No module named 'halving.absent'; 'halving' is not a "
        "package. Mend the package or uninstall it.",
        "full": "there is another method of that name. Mend the package or uninstall it.",
        "other": "it is no dataclass derived from harness.methods.Method. Mend the package or "
        "uninstall it.",
    }
    assert package.problems["absent"].startswith(
        "Method 'absent' of halving (halving.absent:Absent)"
    )


def test_it_is_composed_from_a_folder_of_the_users(package, tmp_path, monkeypatch):
    (tmp_path / "conf" / "method").mkdir(parents=True)
    (tmp_path / "conf" / "method" / "halves.yaml").write_text(YAML)
    monkeypatch.setitem(methods.METHODS, "halves", package.classes["halves"])
    _, plans = compose_sweep([f"--config-dir={tmp_path / 'conf'}", "method=halves"])
    assert [plan.method for plan in plans] == ["halves"]
    assert methods.build(plans[0].trial({"method.share": 0.25}).method) == package.classes[
        "halves"
    ](share=0.25)


def test_a_broken_one_is_refused_where_it_is_asked_for(package, monkeypatch):
    monkeypatch.setattr(methods, "PROBLEMS", package.problems)
    with pytest.raises(InputError, match=r"'absent' of halving .* cannot be used"):
        methods.build({"name": "absent"})
