"""A mistake is one message that names field, value and what is accepted; exit code 2; nothing spent."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness import builtin
from harness.compose.command_line import conf_dir


def refused(answer: tuple[int, str, str], *named: str) -> str:
    code, out, err = answer
    assert code == 2, (out, err)
    assert "Traceback" not in err + out
    for word in named:
        assert word in err, err
    assert err.strip().count("\n") == 0, err
    assert not Path("runs").exists() or not [p for p in Path("runs").rglob("*") if p.is_file()]
    assert not Path("reports").exists()
    return err


FILES = (conf_dir() / "method").glob("*.yaml")
METHODS = "Known: " + ", ".join(sorted(path.stem for path in FILES))
RATE = "training.learning_rate"
CASES = {
    # names
    "method": (["method=lroa"], ["'lroa'", "Did you mean lora", METHODS]),
    "one of several": (["method=lora,qloar"], ["'qloar'", "qlora", METHODS]),
    "no method": (["method=null"], ["method", METHODS]),
    "model": (["model=builtn"], ["model 'builtn'", "Did you mean builtin", "hub"]),
    "data": (["data=jsnol"], ["data 'jsnol'", "jsonl", "builtin_domain", "text"]),
    "sweep": (["sweep=compar"], ["'compar'", "Did you mean compare"]),
    "launcher": (["launcher=dask"], ["launcher 'dask'", "Known: local, ray, slurm"]),
    "optimizer": (["training.optimizer=adm"], ["training.optimizer='adm'", "adamw", "sgd"]),
    "key": (["training.learnig_rate=1"], ["learnig_rate", "Did you mean training.learning_rate"]),
    "method's key": (["method=lora", "method.rank=8"], ["method.rank", "method.r,"]),
    "top key": (["objectve=1"], ["'objectve'", "objectives"]),
    "searched key": (["+search.space={method.rr: 'choice(1,2)'}"], ["method.rr", "method.r"]),
    "flag": (["--trials=3"], ["--trials=3", "key=value"]),
    "no override": (["lora"], ["'lora'", "not an override"]),
    "a part left out": (["~limits"], ["~limits", "Set limits, or a key in it"]),
    "a block left out": (["~launcher"], ["~launcher", "Set launcher, or"]),
    "a key left out": (["~search.trials"], ["search.trials", "is missing"]),
    "per_method": (["+per_method.lroa=['method.r=2']"], ["'lroa'", "lora"]),
    "metric": (["evaluation.metrics=[blue]"], ["'blue'", "bleu, chrf"]),
    # values
    "r 0": (["method.r=0"], ["method.r=0", "integer of at least 1"]),
    "r negative": (["method.r=-4"], ["method.r=-4", "at least 1"]),
    "r 8.5": (["method.r=8.5"], ["method.r=8.5", "an integer"]),
    "r in a range": (["method.r=choice(0,4)"], ["method.r=0", "at least 1"]),
    "r over an interval": (["method.r=interval(2,64)"], ["integer", "tag(int, interval(...))"]),
    "alpha": (["method.lora_alpha=0"], ["method.lora_alpha=0", "above 0"]),
    "dropout": (["method.lora_dropout=1.5"], ["method.lora_dropout=1.5", "[0, 1)"]),
    "rate 0": ([f"{RATE}=0"], [f"{RATE}=0", "above 0"]),
    "rate negative": ([f"{RATE}=-1e-3"], [f"{RATE}=-0.001", "above 0"]),
    "rate nan": ([f"{RATE}=nan"], [f"{RATE}=nan", "finite"]),
    "rate inf": ([f"{RATE}=inf"], [f"{RATE}=inf", "finite"]),
    "norm inf": (["training.max_grad_norm=inf"], ["max_grad_norm=inf", "finite number or null"]),
    "text": ([f"{RATE}=fast"], [f"{RATE}='fast'", "number"]),
    "quoted number": (["'training.batch_size=\"8\"'".strip("'")], ["batch_size='8'", "integer"]),
    "a list": (["training.batch_size=[8]"], ["training.batch_size=[8]", "integer"]),
    "truth": (["method.use_dora=yes"], ["method.use_dora='yes'", "true or false"]),
    "no list": (["evaluation.metrics=bleu"], ["evaluation.metrics='bleu'", "a list"]),
    "seed": (["seed=-1"], ["seed=-1"]),
    "trials": (["search.trials=0"], ["search.trials=0", "at least 1"]),
    "fraction": (["data.validation_fraction=1.5"], ["data.validation_fraction=1.5", "[0, 1)"]),
    "limit": (["limits.minutes=0"], ["limits.minutes=0", "null or above 0"]),
    "steps": (["training.max_steps=null"], ["training.max_steps", "training.epochs"]),
    # ranges
    "empty choice": (["method.r=choice()"], ["choice()", "empty"]),
    "low > high": ([f"{RATE}=interval(1e-2,1e-4)"], ["interval(0.01, 0.0001)", "below"]),
    "log from 0": ([f"{RATE}=tag(log,interval(0,1e-2))"], [RATE, "above 0"]),
    "empty range": (["method.r=range(8,2)"], ["range(8, 2, 1)", "start < stop"]),
    "no range": (["search.space={method.r: 8}"], ["search.space.method.r", "choice(...)"]),
    "glob": (["method.r=glob(*)"], ["glob", "choice(...)"]),
    "not searchable": (["search.trials=2,3"], ["search.trials", "method.*", "training.*"]),
    "two models": (["model.name=a,b"], ["model.name cannot be searched"]),
    # against forgetting
    "share 1": (["retention.replay_share=1"], ["retention.replay_share=1", "share in [0, 1)"]),
    "share negative": (["retention.replay_share=-0.1"], ["replay_share=-0.1", "share in [0, 1)"]),
    "weight": (["retention.kl_weight=-1"], ["retention.kl_weight=-1", "0 (off) or above"]),
    "a range of weights": (
        ["retention.l2_sp_weight=interval(-1,1)"],
        ["retention.l2_sp_weight=-1", "0 (off) or above"],
    ),
    "stiffness": (["retention.ewc_weight=-1e-3"], ["retention.ewc_weight=-0.001"]),
    "no samples": (["retention.ewc_samples=0"], ["retention.ewc_samples=0", "at least 1"]),
    "kl on": (["retention.kl_on=both"], ["retention.kl_on='both'", "replay, target"]),
    "nothing to replay": (
        ["data.replay=null", "retention.replay_share=0.25"],
        ["retention.replay_share=0.25 needs data.replay", "data.general"],
    ),
    "nothing for the KL": (
        ["data.replay=null", "retention.kl_weight=choice(0,0.5)"],
        ["retention.kl_weight=0.5 needs data.replay"],
    ),
    "nothing for the Fisher": (
        ["data.replay=null", "retention.ewc_weight=2"],
        ["retention.ewc_weight=2 needs data.replay"],
    ),
    "one sequence a step": (
        ["retention.replay_share=0.25", "training.batch_size=1"],
        ["retention.replay_share=0.25", "two sequences a step", "training.batch_size"],
    ),
    "replay of what is measured": (
        ["retention.replay_share=0.25", f"data.replay={builtin.GENERAL}"],
        ["data.replay: 16 of its 200 documents", "data.general"],
    ),
    # objectives
    "test split": (["objectives={test.bleu:maximize}"], ["'test.bleu'", "validation split"]),
    "direction": (["objectives={bleu:up}"], ["validation.bleu='up'", "maximize"]),
    "measurement": (["objectives={validation.blue:maximize}"], ["'validation.blue'", "bleu"]),
    "not measured": (
        ["objectives={chrf:maximize}", "evaluation.metrics=[bleu]"],
        ["validation.chrf", "evaluation.metrics"],
    ),
    "domain": (["objectives={forgetting.kl.news:minimize}"], ["forgetting.kl.news", "Known:"]),
    "no mapping": (["objectives=[bleu]"], ["objectives=['bleu']", "direction"]),
    "no text to forget": (["data.general=null"], ["forgetting.kl", "data.general"]),
    "a limit on nothing": (
        ["data.general=null", "objectives={bleu:maximize}", "limits.forgetting=0.1"],
        ["limits.forgetting", "data.general"],
    ),
    # secrets, code, paths
    "secret": (["model.name=${oc.env:HF_TOKEN}"], ["oc.env:HF_TOKEN", "secret"]),
    "another secret": (["+x=${oc.env:MY_PASSWORD,none}"], ["oc.env:MY_PASSWORD", "secret"]),
    "no such variable": (["model.name=${oc.env:NOT_SET_HERE}"], ["NOT_SET_HERE"]),
    "interpolation": (["model.name=${nowhere.x}"], ["nowhere.x"]),
    "code": (["+method._target_=os.system"], ["_target_", "no code"]),
    "code above": (["+_target_=os.system"], ["_target_", "no code"]),
    "escape": (["name=../../evil"], ["name='../../evil'", "letters"]),
    "hidden": (["name=.ssh"], ["name='.ssh'"]),
    "long": ([f"name={'x' * 81}"], ["at most 80"]),
    "config-dir": (["--config-dir=nowhere"], ["--config-dir='nowhere'", "no such folder"]),
    "missing": (
        [f"--config-dir={conf_dir().parent / 'bench'}", "sweep=e2e"],
        ["e2e is missing", "set e2e=..."],
    ),
    # what only this machine can tell
    "devices": (["launcher.devices=[97]"], ["launcher.devices=[97]", "GPUs are"]),
    "workers": (["launcher.workers=0"], ["launcher.workers=0", "at least 1"]),
    "quantized and full": (
        ["method=full", "model.quantization=nf4"],
        ["model.quantization='nf4'", "full", "qlora"],
    ),
    "no folder": (["model=hub", "model.name=./nothing"], ["./nothing", "does not exist"]),
    "no name": (["model=hub"], ["model.name"]),
    "storage": (["search.storage=nonsense"], ["search.storage='nonsense'"]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_typed(sweep, monkeypatch, case):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    arguments, named = CASES[case]
    assert "hf_secret" not in refused(sweep(*arguments), *named)


def test_code_in_a_users_yaml(sweep):
    Path("own/method").mkdir(parents=True)
    Path("own/method/evil.yaml").write_text("name: lora\n_target_: os.system\n")
    refused(sweep("--config-dir=own", "method=evil"), "_target_")


def test_methods_that_are_not_measured_alike(sweep):
    refused(
        sweep("method=lora,full", "+per_method={lora: ['data.max_length=64']}"),
        *("data.max_length", "64", "256", "share data, evaluation"),
    )


# -- models


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ([], "no config.json"),
        (["config.json"], "safetensors"),
        (["config.json", "pytorch_model.bin"], "safetensors"),
    ],
)
def test_model_folders(sweep, files, named):
    Path("model").mkdir()
    for file in files:
        Path("model", file).write_text("{}")
    refused(sweep("model=hub", "model.name=./model"), "model.name='./model'", named)


# -- data


def jsonl(path: str, *rows: object) -> str:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"data.train={path}"


ROWS = [{"prompt": f"p {i}", "answer": f"a {i}"} for i in range(20)]
OWN = ["data=jsonl", "data.general=builtin"]


def test_data_files(sweep):
    def data(*arguments: str) -> tuple[int, str, str]:
        return sweep(*OWN, *arguments)

    refused(data("data.train=train.jsonl"), "data.train", "train.jsonl does not exist")
    refused(data(), "data.train is not set")
    Path("empty.jsonl").touch()
    refused(data("data.train=empty.jsonl"), "empty.jsonl is empty")
    Path("blank.jsonl").write_text("\n\n")
    refused(data("data.train=blank.jsonl"), "no rows")
    Path("torn.jsonl").write_text('{"prompt": "a", "answer": "b"}\n{"prompt": "c", "ans')
    refused(data("data.train=torn.jsonl"), "torn.jsonl:2", "not valid JSON")
    Path("latin.jsonl").write_bytes('{"prompt": "a", "answer": "é"}\n'.encode("latin-1"))
    refused(data("data.train=latin.jsonl"), "latin.jsonl:1", "UTF-8")
    train = jsonl("train.jsonl", *ROWS)
    refused(data(train, "data.answer_column=reply"), "reply", "answer", "prompt")
    refused(data(train, "data.prompt_column=null"), "data.prompt_column", "data.text_column")
    refused(data(train, "data.prompt_template={question}"), "question")
    few = jsonl("few.jsonl", *ROWS[:2])
    refused(data(few), "2 different prompts", "data.validation")
    missing = jsonl("missing.jsonl", *ROWS, {"prompt": "x"})
    refused(data(missing), "missing.jsonl:21", "answer")


# -- what the first job tells, before any training


def test_what_only_the_model_can_tell(sweep):
    refused(
        sweep("method=lora", "method.target_modules=[q_proj,c_attn]"),
        *("'c_attn'", "method.target_modules", "q_proj", "down_proj"),
    )
    refused(sweep("method=lora", "method.r=4096"), "method.r=4096", "at most")
    tokens = "method.num_virtual_tokens"
    refused(sweep("method=prefix_tuning", f"{tokens}=300"), f"{tokens}=300", "below 256")
    refused(sweep("method=prompt_tuning", f"{tokens}=250"), f"{tokens}=250", "longest text has")
    refused(sweep("method=full", "method.match.trainable_parameters=9"), "match", "Full", "no size")
    refused(sweep("method=lora", "method.r=choice(4,4096)"), "method.r=4096", "at most")
    refused(
        sweep("method=lora", "method.target_modules=choice([q_proj],[nope])"),
        *("'nope'", "method.target_modules"),
    )


def test_too_long_is_counted(sweep):
    train = jsonl("long.jsonl", *ROWS, {"prompt": "word " * 400, "answer": "a"})
    err = refused(
        sweep(*OWN, train, "data.too_long=error", "data.max_length=128", "data.train_limit=null"),
        "data.too_long",
    )
    assert "1 of" in err and "128" in err


def test_task_folders(sweep):
    refused(sweep("evaluation.task_folder=nowhere"), "evaluation.task_folder='nowhere'")
    Path("tasks").mkdir()
    Path("tasks/evil.yaml").write_text("task: evil\nprocess_docs: !function os.system\n")
    refused(sweep("evaluation.task_folder=tasks"), "evil.yaml", "!function")


# -- folders


@pytest.mark.parametrize("field", ["runs_dir", "reports_dir"])
def test_a_folder_that_is_a_file(sweep, field):
    Path("taken").write_text("")
    refused(sweep(f"{field}=taken"), field, "taken", "cannot be written")
    refused(sweep(f"{field}=taken/below"), field, "taken/below", "cannot be written")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("field", ["runs_dir", "reports_dir"])
def test_a_folder_that_is_read_only(sweep, field):
    Path("locked").mkdir(mode=0o500)
    refused(sweep(f"{field}=locked"), field, "locked", "cannot be written")


def test_a_plan_warns_of_what_is_allowed(sweep):
    rows = [{"prompt": f"p {i}", "answer": "None" if i == 3 else f"a {i}"} for i in range(20)]
    train = jsonl("train.jsonl", *rows)
    files = [train, "data.validation=train.jsonl", "data.test=train.jsonl"]
    code, out, err = sweep(
        *OWN, *files, "method=prompt_tuning", "evaluation.merged=true", "training.batch_size=64",
        "launcher.workers=1000", "launcher.measure=false", "confirm.seeds=1", "plan=true",
    )  # fmt: skip
    assert code == 0, err
    said = " ".join(out.split())
    for words in (
        "caution 4 prompts of the test split (4 examples) are also in train",
        "of the validation split",
        "1 rows of data.train have an answer such as None",
        "a step has 64 sequences and train 12 examples",
        "launcher.workers=1000 share",
        "evaluation.merged measures nothing for prompt_tuning",
        "rate prompt_tuning: as configured; no rule is published for this",
        "with one seed a candidate no difference between methods is tested",
    ):
        assert words in said, out


def test_a_warm_start_from_nowhere(sweep):
    refused(sweep("search.warm_start=[nowhere]"), "search.warm_start", "no folder 'nowhere'")


def test_a_plan_spends_nothing(sweep):
    code, out, err = sweep("method=lora,full", "plan=true")
    assert (code, err) == (0, "")
    for word in ("nothing is run", "lora", "full", "984,192 parameters", "12 examples", "power"):
        assert word in out
    said = " ".join(out.split())
    assert "rate lora, full: as it is set" in said
    # z(.975) + z(.8) = 2.80 standard errors of a difference: √(2 · 0.25/4) of shares, √(2/3) seed SDs
    assert "4 test items alone tell shares of right answers apart that differ by 99 points" in said
    assert "3 seeds alone tell scores apart that differ by 2.3 times the SD" in said
    assert not [path for path in Path("runs").rglob("*") if path.is_file()]
