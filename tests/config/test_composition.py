"""Composition of command lines. No test starts a process or loads a model."""

from __future__ import annotations

import pytest
from sweeping import composed

from harness import methods
from harness.compose import override_grammar
from harness.compose.command_line import compose_sweep, compose_trial
from harness.compose.quoting import shown
from harness.config.search_space import Choice, Interval
from harness.errors import InputError
from harness.models.quantization import Quantization

RATE = "training.learning_rate"


def spaces(*arguments):
    return {name: dict(plan.space) for name, plan in composed(*arguments)[1].items()}


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


# -- methods


@pytest.mark.parametrize(
    "typed",
    [
        ["method=lora,qlora"],
        ["-m", "method=lora,qlora"],
        ["--multirun", "method=choice(lora,qlora)"],
        ["methods=[lora,qlora]"],
        ["method=lora,qlora,lora"],
    ],
)
def test_several_methods(typed):
    sweep, plans = composed(*typed)
    assert list(plans) == ["lora", "qlora"]
    assert sweep.name.startswith("lora-qlora-")


def test_each_method_has_its_own_fields_and_preset():
    _, plans = composed("method=full,lora,prompt_tuning")
    trials = {name: plan.trial({}) for name, plan in plans.items()}
    assert set(trials["full"].method) == {"name", "match"}
    assert trials["lora"].method["r"] == 8  # conf/tuned/builtin_lora.yaml
    assert trials["prompt_tuning"].training.schedule == "constant"
    assert trials["lora"].training.schedule == "linear"
    assert {trial.model for trial in trials.values()} == {trials["lora"].model}


VARIANTS = "+variants={small:['method=lora','method.r=2'],large:['method=lora','method.r=32']}"


def test_variants_of_one_method_are_tuned_apart():
    _, plans = composed(VARIANTS)
    assert list(plans) == ["small", "large"]
    assert {name: plan.trial({}).method["r"] for name, plan in plans.items()} == {
        "small": 2,
        "large": 32,
    }
    for plan in plans.values():
        assert list(plan.space) == [RATE]  # what a variant pins is not searched
        assert "method=lora" in plan.overrides  # what a person types
        assert plan.trial({}).training.learning_rate == 3e-3  # conf/tuned/builtin_lora.yaml
    assert list(composed(VARIANTS, "method=large,full")[1]) == ["large", "full"]


def test_variants_may_begin_from_different_models():
    """Each with what its method needs on that model, and with a base of its own to be told from."""
    from harness.models.loading.location import model_path
    from harness.search.sweep_folder import describe

    sweep, plans = composed("sweep=knowledge_injection")
    configs = {name: plan.trial({}) for name, plan in plans.items()}
    assert {name: c.model.name for name, c in configs.items()} == {
        "base": "builtin",
        "chat": "builtin_chat",
    }
    assert len({model_path(c.model) for c in configs.values()}) == 2
    base, chat = configs.values()
    assert (base.method, base.training, base.data) == (chat.method, chat.training, chat.data)
    assert base.training.learning_rate == 1e-3 and base.training.epochs == 20
    assert all(plan.space == {} for plan in plans.values())
    assert "model=builtin_chat" in plans["chat"].overrides  # what a person types
    made = describe(sweep, list(plans.values()), {"base": "b", "chat": "c"}, "d", [])
    assert made["model"] == "builtin, builtin_chat"
    contents = {n: m["trial"]["model"]["content"] for n, m in made["identity"]["methods"].items()}
    assert contents == {"base": "b", "chat": "c"}


def test_a_chat_model_is_tuned_with_the_presets_of_its_base():
    _, plans = composed("method=lora,qlora", "model=builtin_chat")
    _, of_base = composed("method=lora,qlora")
    for name, plan in plans.items():
        assert plan.trial({}).training == of_base[name].trial({}).training
        assert plan.space == of_base[name].space


def test_models_of_variants_are_loaded_alike():
    two = "+variants={a:['method=lora'],b:['method=lora','model=builtin_chat','model.dtype=bfloat16']}"
    with pytest.raises(InputError, match=r"model\.dtype is 'float32' for a and 'bfloat16' for b"):
        composed(two)


def test_the_sweep_over_quantizations():
    """Every way to store the frozen weights, each tuned by itself, beside the full precision."""
    _, plans = composed("sweep=quantization")
    stored = {
        name: methods.build(plan.trial({}).method).base_quantization for name, plan in plans.items()
    }
    assert stored == {
        "qlora_nf4_dq": Quantization("nf4", True),
        "qlora_nf4": Quantization("nf4", False),
        "qlora_fp4": Quantization("fp4", False),
        "qlora_int8": Quantization("int8", False),
        "lora": None,
    }
    assert len({tuple(map(str, plan.space.items())) for plan in plans.values()}) == 1


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("+variants={a:['method.r=2']}", "variants.a must name one method"),
        ("+variants={a:['method=lora','method=full']}", "variants.a must name one method"),
        ("+variants={a:['method=laro']}", "lora"),
        ("+variants={a/b:['method=lora']}", "names a folder"),
        ("+variants={a:'method=lora'}", "list of texts"),
    ],
)
def test_variants_that_cannot_be_used(typed, said):
    with pytest.raises(InputError, match=said):
        composed(typed)


def test_the_sweep_against_forgetting():
    """A switch a variant, searched with the rate; the first trial is its own default."""
    from harness.search.optuna_studies.study import MethodStudy

    sweep, plans = composed("sweep=retention")
    for name, plan in plans.items():
        method, _, switch = name.partition("_")
        searched = [key for key in plan.space if key.startswith("retention.")]
        assert len(searched) == (switch != "") and all(switch in key for key in searched)
        first = MethodStudy(plan, sweep, None)._defaults()
        config = plan.trial({})
        assert config.method["name"] == method
        on = {k for k, v in vars(config.retention).items() if v and k.endswith(("weight", "share"))}
        assert on == {key.removeprefix("retention.") for key in searched}
        assert set(first) == set(plan.space), "every default lies in its range"


def test_a_key_reaches_the_methods_that_have_it():
    _, plans = composed("method=full,lora,qlora,adalora", "method.r=4")
    assert {name: plan.trial({}).method.get("r") for name, plan in plans.items()} == {
        "full": None,
        "lora": 4,
        "qlora": 4,
        "adalora": None,
    }
    searched = spaces("method=full,lora", "method.r=choice(3,5)")
    assert searched["lora"]["method.r"] == Choice((3, 5))
    assert list(searched["full"]) == [RATE]
    with pytest.raises(InputError, match=r"method\.r"):
        composed("method=full", "method.r=4")


def test_the_named_sweep_is_what_the_folder_is_called_by():
    assert composed("sweep=compare")[0].name.startswith("compare-")
    assert composed("sweep=compare", "method=lora")[1].keys() == {"lora"}
    assert composed("method=full,lora,qlora,adalora")[0].name.startswith("4-methods-")


# -- what is searched


def test_a_pinned_key_leaves_the_search():
    assert list(spaces("method=lora")["lora"]) == ["method.r", RATE]
    assert list(spaces("method=lora", "method.r=8")["lora"]) == [RATE]
    assert spaces("method=lora", "method.r=8", f"{RATE}=1e-3")["lora"] == {}


def test_the_last_word_counts():
    ranges = spaces("method=lora", "method.r=choice(1,2)", "method.r=8")["lora"]
    assert "method.r" not in ranges
    _, plans = composed("method=lora", "method.r=2", "method.r=choice(2,4)")
    assert plans["lora"].space["method.r"] == Choice((2, 4))
    assert plans["lora"].trial({}).method["r"] == 2, "the value before the range is the default"


def test_the_command_line_wins_over_the_yaml(tmp_path):
    write(
        tmp_path,
        "sweep/mine.yaml",
        "# @package _global_\nsearch:\n  space:\n    method.r: choice(2, 4)\n"
        "    training.weight_decay: interval(0.0, 0.1)\nmethods: [lora, full]\n",
    )
    own = [f"--config-dir={tmp_path}", "sweep=mine"]
    searched = spaces(*own)
    assert searched["lora"]["method.r"] == Choice((2, 4))
    assert set(searched["full"]) == {RATE, "training.weight_decay"}, "r is another method's"
    searched = spaces(*own, "method=lora", "method.r=choice(8,16)")["lora"]
    assert searched["method.r"] == Choice((8, 16))
    assert searched["training.weight_decay"] == Interval(0.0, 0.1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# @package _global_\nserch:\n  trials: 3\n", "Unknown key 'serch'. Did you mean search"),
        ("# @package _global_\nsearch: {trials: 3\n", r"mine.yaml:3 is no YAML: "),
        ("search:\n  trials: 3\n", "no effect without '# @package _global_'"),
        ("- search\n", "must hold keys with values, not a list"),
        ("# @package _global_\nsearch: 3\n", "search=3 cannot be used: it must be a mapping"),
        ("# @package _global_\nmine: 3\nsearch:\n  trials: ${mine}\n", None),
    ],
)
def test_a_sweep_of_ones_own_is_read_or_refused(tmp_path, text, said):
    """A key that nothing reads is refused, unless another value refers to it."""
    write(tmp_path, "sweep/mine.yaml", text)
    own = [f"--config-dir={tmp_path}", "sweep=mine"]
    if said is None:
        assert composed(*own)[0].search.trials == 3
        return
    with pytest.raises(InputError) as error:
        composed(*own)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_null_takes_a_key_out_of_the_search(tmp_path):
    write(
        tmp_path,
        "sweep/mine.yaml",
        "# @package _global_\nsearch:\n  space:\n    method.r: null\n",
    )
    assert list(spaces(f"--config-dir={tmp_path}", "sweep=mine")["lora"]) == [RATE]


@pytest.mark.parametrize(
    ("typed", "dimension"),
    [
        ("method.r=choice(2,4,8)", Choice((2, 4, 8))),
        ("method.r=2,4,8", Choice((2, 4, 8))),
        ("method.r=choice(2,4,2)", Choice((2, 4))),
        ("method.r=range(1,4)", Choice((1, 2, 3))),
        ("method.r=range(2,9,3)", Choice((2, 5, 8))),
        ("method.r=range(2,8,3)", Choice((2, 5))),
        ("training.weight_decay=range(0.1,0.4,0.1)", Choice((0.1, 0.2, 0.1 + 2 * 0.1))),
        ("training.weight_decay=interval(0,1)", Interval(0.0, 1.0)),
        ("training.weight_decay=interval(0.1,1)", Interval(0.1, 1.0)),
        (f"{RATE}=tag(log,interval(1e-5,1e-2))", Interval(1e-5, 1e-2, log=True)),
        ("method.r=tag(int,interval(2,64))", Interval(2, 64, integer=True)),
        ("method.r=int(interval(2,64))", Interval(2, 64, integer=True)),
        ("method.r=tag(int,log,interval(2,64))", Interval(2, 64, log=True, integer=True)),
        ('training.precision=choice("no",bf16)', Choice(("no", "bf16"))),
        (
            "method.target_modules=choice([q_proj,v_proj],[q_proj],all-linear)",
            Choice((["q_proj", "v_proj"], ["q_proj"], "all-linear")),
        ),
        ("method.use_dora=choice(true,false)", Choice((True, False))),
        ("training.max_grad_norm=null,1.0", Choice((None, 1.0))),
    ],
)
def test_ranges(typed, dimension):
    found = override_grammar.dimension(override_grammar.parse(typed))
    assert found == dimension
    assert [type(value) for value in found.ends()] == [type(value) for value in dimension.ends()]


def test_whole_numbers_keep_their_type():
    assert Interval(2, 64, integer=True).ends() == (2, 64)
    for value in spaces("method=lora", "method.r=tag(int,interval(2,64))")["lora"][
        "method.r"
    ].ends():
        assert isinstance(value, int)


def test_the_space_of_a_method_survives_as_text():
    """Overrides in the record and sweep.yaml can be typed again unchanged."""
    for method, space in spaces("method=full,ulmfit,lora,qlora,adalora,prompt_tuning").items():
        again = spaces(f"method={method}", *(f"{key}={d}" for key, d in space.items()))
        assert again[method] == space


# -- values that hang on others


def test_a_tied_value_follows_what_is_searched(tmp_path):
    write(
        tmp_path,
        "sweep/tied.yaml",
        "# @package _global_\nmethod:\n  lora_alpha: ${method.r}\nmethods: [lora]\n",
    )
    _, plans = composed(f"--config-dir={tmp_path}", "sweep=tied", "method.r=choice(4,32)")
    for r in (4, 32):
        assert plans["lora"].trial({"method.r": r}).method["lora_alpha"] == r
    _, plans = composed("method=lora", "method.lora_alpha=${method.r}")
    assert plans["lora"].trial({"method.r": 64}).method["lora_alpha"] == 64


def test_per_method_overrides(tmp_path):
    write(
        tmp_path,
        "sweep/mine.yaml",
        "# @package _global_\nmethods: [lora, qlora]\nper_method:\n"
        "  lora:\n    - method.r=2\n    - method.r=choice(2, 4)\n    - training.max_steps=7\n"
        "  qlora:\n    - training.learning_rate=1e-3\n",
    )
    own = [f"--config-dir={tmp_path}", "sweep=mine"]
    _, plans = composed(*own)
    lora, qlora = plans["lora"], plans["qlora"]
    assert lora.trial({}).method["r"] == 2 and lora.space["method.r"] == Choice((2, 4))
    assert lora.trial({}).training.max_steps == 7 != qlora.trial({}).training.max_steps
    assert list(qlora.space) == ["method.r"] and qlora.trial({}).training.learning_rate == 1e-3
    _, plans = composed(*own, "training.max_steps=9", "method.r=16")  # what is typed comes last
    assert [plan.trial({}).training.max_steps for plan in plans.values()] == [9, 9]
    assert "method.r" not in plans["lora"].space


# -- a user's own folder


def test_a_users_own_presets(tmp_path):
    folder = tmp_path / "my conf (own)"
    write(
        folder,
        "method/tiny_lora.yaml",
        "# @package _global_\ndefaults: [lora, _self_]\nmethod:\n  r: 1\n  target_modules: [q_proj]\n"
        "search:\n  space:\n    training.learning_rate: tag(log, interval(1e-4, 1e-2))\n",
    )
    write(folder, "data/mine.yaml", "defaults: [_base, _self_]\nsource: jsonl\ntrain: x.jsonl\n")
    write(folder, "sweep/nightly.yaml", "# @package _global_\nsearch:\n  trials: 5\n")
    sweep, plans = composed(
        f"--config-dir={folder}", "sweep=nightly", "method=tiny_lora", "data=mine"
    )
    assert sweep.search.trials == 5 and sweep.name.startswith("nightly-")
    assert list(plans) == ["tiny_lora"]
    trial = plans["tiny_lora"].trial({})
    assert trial.method["name"] == "lora" and trial.method["target_modules"] == ["q_proj"]
    assert trial.data.source == "jsonl" and trial.data.train == "x.jsonl"
    assert plans["tiny_lora"].overrides[0] == f"--config-dir={folder}"
    with pytest.raises(InputError, match="Did you mean nightly"):
        composed(f"--config-dir={folder}", "sweep=nightli")


# -- objectives


@pytest.mark.parametrize(
    ("typed", "resolved"),
    [
        ([], {"validation.bleu": "maximize", "forgetting.kl": "minimize"}),
        (["objectives={bleu:maximize}"], {"validation.bleu": "maximize"}),
        (
            ["objectives={chrf:maximize,drift.kl_target:minimize}"],
            {"validation.chrf": "maximize", "drift.kl_target": "minimize"},
        ),
        (
            ["evaluation.metrics=[]"],
            {"validation.perplexity": "minimize", "forgetting.kl": "minimize"},
        ),
        (
            ["data=builtin_domain"],
            {"validation.perplexity": "minimize", "forgetting.kl": "minimize"},
        ),
    ],
)
def test_objectives(typed, resolved):
    assert composed("method=lora", *typed)[0].objectives == resolved


# -- names and trials by hand


def test_the_same_command_has_the_same_folder_and_another_another():
    def name(*typed):
        return composed("method=lora", *typed)[0].name

    assert name() == name()
    free = ["launcher.workers=2", "runs_dir=x", "reports_dir=y", "plan=true"]
    assert name(*free) == name()
    counted = ["seed=1", "method.r=8", "confirm.seeds=1", "data.max_length=64"]
    assert len({name(), *map(name, counted)}) == 1 + len(counted)
    assert name("name=123") == "123"


def test_a_trial_by_hand():
    plan, tree = compose_trial(["method=lora", "method.r=4"])
    assert plan.trial({}).method["r"] == 4 and tree["name"] == "by-hand"
    with pytest.raises(InputError, match="one value a key"):
        compose_trial(["method=lora", "method.r=2,4"])
    with pytest.raises(InputError, match="name="):
        compose_trial(["method=lora", "name=../../evil"])


def test_what_a_trial_prints_composes_to_it_again(tmp_path):
    """The overrides of a plan and its values, as `harness.trial` takes them."""
    write(
        tmp_path,
        "sweep/mine.yaml",
        "# @package _global_\nmine: ???\nmethods: [lora, full]\ndata:\n  max_length: 100\n"
        "training:\n  weight_decay: ${mine}\nper_method:\n  lora: [training.max_steps=7]\n",
    )
    _, plans = compose_sweep(
        [f"--config-dir={tmp_path}", "sweep=mine", "mine=0.25", "tracking=none", "seed=4"]
    )
    values = {
        "training.learning_rate": 0.0012345678901234567,
        "method.r": 3,
        "method.lora_dropout": 0.1 + 0.2,
        "method.target_modules": ["q_proj", "v_proj"],
        "training.max_grad_norm": None,
        "method.use_dora": True,
    }
    typed = [*plans[0].overrides, *(f"{key}={shown(value)}" for key, value in values.items())]
    again, _ = compose_trial([*typed, "seed=4", "stage=confirm"])
    assert again.trial({}) == plans[0].trial(values, seed=4, stage="confirm")
    assert again.trial({}).training.weight_decay == 0.25


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["launcher=slurm", "launcher.options={constraint: a100}"], {"constraint": "a100"}),
        (["launcher=slurm", "launcher.options.qos=long"], {"qos": "long"}),
    ],
)
def test_options_of_sbatch_need_no_plus_sign(arguments, found):
    sweep, _ = composed("method=lora", *arguments)
    assert sweep.launcher.options == found


def test_a_whole_mapping_of_a_methods_own_keys_needs_no_plus_sign():
    _, plans = composed("method=peft", "method.peft_type=LOKR", "method.config={r: 4}")
    assert plans["peft"].trial({}).method["config"]["r"] == 4
