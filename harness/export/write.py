"""One export from its trial to its folder, in the order of execution."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import methods
from harness.config import TrialConfig
from harness.config.strict import from_mapping
from harness.export.base_model import BaseModel
from harness.export.card import model_card
from harness.export.card_facts import CardFacts
from harness.export.chosen_trial import ChosenTrial
from harness.export.folder import CONTENTS, copy_model, written_aside
from harness.export.load_script import load_script, usage
from harness.export.measured import MERGED, MeasuredAgain, check_merging, measure
from harness.export.options import ExportOptions
from harness.models.loading.base_card import read_base_card
from harness.records import read_json, write_json, write_text
from harness.records.disk_usage import size_of
from harness.reporting import formatting as f
from harness.terminal.phases import phase
from harness.terminal.remarks import keep_remarks

FORMAT = 1


def write(
    choice: ChosenTrial, folder: Path, options: ExportOptions, asked: Mapping[str, Any]
) -> None:
    """Write the export of ``choice`` to ``folder`` and say what was done. Raises InputError."""
    from harness.launch.host import device_of_this_process

    keep_remarks(choice.row.folder)
    record = choice.row.record
    config: TrialConfig = from_mapping(TrialConfig, record.config)
    method = methods.build(config.method)
    base = BaseModel.of(config.model, record, options.base)
    is_adapter = (choice.adapter / "adapter_config.json").is_file()
    device = device_of_this_process()
    merging = options.merged and (is_adapter or options.bits is not None)
    if merging:
        config, method = check_merging(choice, options.bits, device)
    elif options.merged:
        print("merged=true: the whole model was trained. It is exported as it is.")
    merged_bytes = int(record.provenance.get("model", {}).get("base_bytes", 0)) * merging
    with written_aside(folder, size_of(choice.adapter) + merged_bytes) as aside:
        copy_model(choice.adapter, aside, base, record.provenance.get("written") or {})
        again = None
        if merging:
            with phase("merging, and measuring again"):
                again = measure(choice, aside, config, method, options.bits, device)
        tokenizer = _tokenizer(aside)
        script = load_script(aside, config, record, base if is_adapter else None, tokenizer)
        write_text(aside / "load.py", script)
        if (aside / MERGED).is_dir():
            whole = load_script(aside / MERGED, config, record, None, tokenizer)
            write_text(aside / MERGED / "load.py", whole)
            _keep_template(aside, aside / MERGED)
        facts = CardFacts(
            name=(options.push or folder.resolve().name).rpartition("/")[2],
            choice=choice,
            config=config,
            base=base,
            base_card=read_base_card(config.model),
            adapter=read_json(aside / "adapter_config.json"),
            labels=tuple(map(str, read_json(aside / "labels.json") or ())),
            use=usage(config, base if is_adapter else None),
            cannot_merge=method.cannot_merge,
            again=again,
            bits=options.bits,
        )
        write_text(aside / "README.md", model_card(facts))
        write_json(aside / CONTENTS, _contents(choice, asked, again))
    _say(choice, folder, again)


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def _keep_template(folder: Path, merged: Path) -> None:
    """Give the merged model's tokenizer the chat template of training."""
    template = folder / "chat_template.jinja"
    if template.is_file():
        write_text(merged / template.name, template.read_text(encoding="utf-8"))


def _contents(
    choice: ChosenTrial, asked: Mapping[str, Any], again: MeasuredAgain | None
) -> dict[str, Any]:
    """Return export.json: what this is, and its numbers for programs."""
    record = choice.row.record
    outcomes = {} if again is None else {n: o.to_json() for n, o in again.outcomes.items()}
    return {
        "format": FORMAT,
        "asked": dict(asked),
        "method": record.method,
        "seed": record.seed,
        "why": choice.why,
        "recommended": choice.is_recommended,
        "measurements": {name: m.to_json() for name, m in record.measurements.items()},
        "base": {name: m.to_json() for name, m in record.base.items()},
        "again": outcomes,
        "measured_again_on": None if again is None else again.device,
    }


def _say(choice: ChosenTrial, folder: Path, again: MeasuredAgain | None) -> None:
    asked = (choice.alone.quality, choice.alone.forgetting)
    for name, outcome in ({} if again is None else again.outcomes).items():
        measured = {n: m for n, m in outcome.measurements.items() if n in asked}
        numbers = [f"{f.title(n)} {f.measured(n, m)}" for n, m in measured.items()]
        speed = outcome.tokens_per_second
        numbers += [] if speed is None else [f"{speed:,.0f} tokens/s"]
        print(f"  {name}: {', '.join(numbers)}" + (f" ({outcome.note})" if outcome.note else ""))
    size = f.file_size(size_of(folder))
    print(f"{folder}: {size}. Read README.md, and answer a prompt with: python {folder}/load.py")
