"""Values typed into a shell arrive as meant, or the message names what to type."""

from __future__ import annotations

import random
import shlex
import subprocess

import pytest

from harness.compose import override_grammar
from harness.compose.command_line import compose_sweep, compose_trial
from harness.compose.quoting import shown
from harness.errors import InputError

VALUES = [
    *(1e-5, 0.1 + 0.2, 1e22, 7, True, None, "plain", "two words", "a'b", "1e-3", "true", "Null"),
    *("", "a,b", "{x}", "x=y", "back\\slash", "end\\", "[1]", ["a b", "c,d"], ["q_proj", 3], "a:b"),
    *("nan", "データ", "é", "\ufeff", "\u2028", "a\\nb", "\\\"'", {"news": "~/a b", "x": ["\n"]}),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_shown_values_are_read_again(value):
    assert override_grammar.parse(f"key={shown(value)}").value() == value


def through_bash(texts: list[str]) -> list[str]:
    """Return the arguments that bash passes for ``texts``, quoted as in printed commands."""
    script = f"printf '%s\\0' {shlex.join(texts)}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


def test_printed_commands_come_back_through_bash():
    """Any text: shown, quoted for the shell, through bash, read again."""
    draw = random.Random(0)
    letters = "ab n t r u x 0 1 \\ \" ' ` $ { } [ ] ( ) , : = ~ # % @ ! ; & | < > * ? é 文 \n \t \r"
    alphabet = [*letters.replace(" ", ""), " ", "\\n", "${", "\x1b", "\x85", "🙂", "\u202e"]
    texts = ["".join(draw.choices(alphabet, k=draw.randrange(12))) for _ in range(400)]
    typed = [f"data.train={shown(text)}" for text in texts]
    assert all(text.isprintable() for text in typed)
    assert [override_grammar.parse(text).value() for text in through_bash(typed)] == texts
    lists = [f"data.train={shown(texts[i : i + 3])}" for i in range(0, 60, 3)]
    assert [override_grammar.parse(text).value() for text in through_bash(lists)] == [
        texts[i : i + 3] for i in range(0, 60, 3)
    ]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        *(("data.train", text) for text in (
            "データ.jsonl", "~/train.jsonl", "runs/step=100.jsonl", "a (1).jsonl", "train[:100]",
            "Bob's.jsonl", "[draft].jsonl", "{x}.jsonl", "50% #1 @home.jsonl", "<(cat x)", "a;b&c|d",
        )),
        ("model.name", "~/módels/[x] {y}"),
        ("model.revision", "1234e56"),  # a commit, not infinity
        ("data.prompt_column", "0"),  # a table without names
        ("data.prompt_template", "{instruction}, then {input} "),
        ("data.prompt_template", "[INST]"),
        ("data.prompt_template", "choice(of) {prompt}"),
        ("training.optimizer", "adam w("),
        ("data.general.news", "~/news (1).txt"),
        ("nobody.knows", "~/x"),
    ],
)  # fmt: skip
def test_plain_text_needs_no_second_quotes(key, text):
    override = override_grammar.parse(f"{key}={text}")
    assert override.value() == text
    assert override_grammar.parse(override.input_line).value() == text


def test_it_reaches_the_trial():
    typed = ["data=jsonl", "data.train=~/a (1).jsonl", "data.general={news: ~/n.txt, b: b=1.txt}"]
    typed += ["data.validation=[~/v.jsonl,w (2).jsonl]", 'evaluation.stop=["\\n", "\\tB"]']
    typed += ['data.prompt_template="{prompt}\\n\\u2192\\\\n\\."']
    plan, _ = compose_trial(typed)
    trial = plan.trial({})
    assert trial.data.train == "~/a (1).jsonl"
    assert trial.data.validation == ["~/v.jsonl", "w (2).jsonl"]
    assert trial.data.general == {"news": "~/n.txt", "b": "b=1.txt"}
    assert trial.evaluation.stop == ["\n", "\tB"]
    assert trial.data.prompt_template == "{prompt}\n→\\n\\."
    assert compose_trial(plan.overrides)[0].trial({}) == trial


def test_a_real_line_break_is_recorded_in_one_line():
    override = override_grammar.parse("data.prompt_template='{a}\n\n{b}'")
    assert override.value() == "{a}\n\n{b}"
    assert override.input_line == 'data.prompt_template="{a}\\n\\n{b}"'
    raw = override_grammar.parse("data.prompt_template={a}\n\n{b}")
    assert (raw.value(), raw.input_line) == (override.value(), override.input_line)


def test_methods_as_a_list():
    assert [plan.method for plan in compose_sweep(["method=[lora,full]"])[1]] == ["lora", "full"]


REFUSED = {
    r"data.prompt_template={a}\n\n{b}": [
        r"""'data.prompt_template="{a}\n\n{b}"'""",
        "double quotes",
    ],
    r"data.prompt_template='{a}\t{b}'": [r"""'data.prompt_template="{a}\t{b}"'"""],
    r"evaluation.stop=['\n',x]": [r"""'evaluation.stop=["\n",x]'"""],
    "data.train=a.jsonl,b.jsonl": ["'data.train=[a.jsonl,b.jsonl]'", '"a.jsonl,b.jsonl"'],
    "data.train=a (1).jsonl,~/b": ["""'data.train=["a (1).jsonl","~/b"]'"""],
    "data.train=[a[1].jsonl,b]": ["""'data.train=["a[1].jsonl",b]'"""],
    "evaluation.metrics=bleu,chrf": ["evaluation.metrics=[bleu,chrf]"],
    "model.name=a,b": ["model.name cannot be searched", """'model.name="a,b"'"""],
    "method.r=choice(1,2": ["A ')' is missing", "choice(a,b)"],
    "method.r=interval(1)": ["'end'", "interval(low,high)"],
    "search.space={method.r: choice(2,4)}": [
        "double quotes",
        """'search.space={method.r: "choice""",
    ],
    "search.space=choice": ["search.space='choice'", "a mapping"],
    "search.space.method.rank=choice(2,4)": ["'method.rank'", "Did you mean method.r"],
    "search.rate.default=abc": ["search.rate.default='abc'", "above 0"],
    "search.rate.range=1e-3": ["search.rate.range='0.001'", "tag(log, interval"],
    "runs_dir=": ["runs_dir=''", "the path of a folder"],
    "per_method={lora: [seed=2]}": ["per_method.lora: seed=2", "the same for all methods"],
    "variants={a: [method=lora,confirm.seeds=2]}": ["variants.a: confirm.seeds=2"],
    "search=3": ["search=3", "a mapping", "search."],
    "variants=[a]": ["variants=['a']", "a mapping"],
    "methods=[]": ["methods=[]", "method=lora,full"],
    "method=[]": ["methods=[]", "method=lora,full"],
    "method.r=choise(2,4)": ["method.r=choise(2,4)", "written choice(a,b)"],
    "method.r=[2,4]": ["method.r=[2,4]", "written choice(a,b)"],
    "training.learning_rate=log(1e-4,1e-2)": ["interval(low,high)"],
    "training.learning_rate=tag(lgo,interval(1e-4,1))": ["tag", "'lgo'", "Did you mean log"],
    "method.r=range(1,1000000000)": ["10,000 values", "tag(int, interval(low, high))"],
    "search.space={method.rank: x}": ["'method.rank'", "Did you mean method.r"],
    "search.space.method.r=choice(2,4)": ["method.r=choice(...)"],
    "variants={a: [methd=lora]}": ["variants.a", "['methd=lora']", "method=..."],
    "training.learning_rate=1e-4)": ["training.learning_rate='1e-4)'", "finite number"],
    "limits={minutes: 3": ["limits='{minutes: 3'", "mapping"],
    "training={max_steps: 3}": ["training.max_steps=3"],
    "data=csv,json": ["data cannot be searched", "one sweep for each"],
    "method=LoRA": ["Did you mean lora"],
    "method == lora": ["'method '", "without spaces"],
    "=lora": ["'' is no key"],
    "own.yaml": ["--config-dir=FOLDER sweep=own"],
    "data.train=${x": ["no viable alternative", "${x"],
    "tuned=builtin_lora method=full": ["tuned=builtin_lora", "method=full", "method.r"],
    "method= lora": ["'lora'", "method=lora"],
    "method = full": ["without spaces"],
    "method=lora, full": ["method=lora,full"],
    "tracking=wandb tracking.project=my/project": ["tracking.project='my/project'", "without /"],
    "--config-name=x": ["--config-name", "--config-dir"],
    "--method=lora": ["method=lora"],
}


@pytest.mark.parametrize("typed", REFUSED)
def test_what_to_type_is_said(typed):
    is_one = typed.startswith(
        ("data.", "search.", "variants", "per_method", "limits", "training=", "method ==")
    )
    with pytest.raises(InputError) as error:
        compose_sweep([typed] if is_one else typed.split())
    assert "\n" not in str(error.value)
    for word in REFUSED[typed]:
        assert word in str(error.value)


def test_what_a_trial_cannot_take():
    with pytest.raises(InputError, match=r"one value a key.*A list is written \[a,b\]"):
        compose_trial(["method.target_modules=q_proj,v_proj"])
    with pytest.raises(InputError, match="a trial is one run"):
        compose_trial(["--multirun", "method=lora"])
