"""The model card: README.md in the hub's format, from what the trial measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness import __version__
from harness.export.card_facts import CardFacts
from harness.export.card_metadata import metadata
from harness.export.chosen_trial import ChosenTrial
from harness.export.folder import names_only
from harness.export.measured import MERGED, QUANTIZED
from harness.export.serving import how_to_serve
from harness.records import Measurement, Outcome
from harness.records.secrets import scrub
from harness.reporting import formatting as f
from harness.reporting.evidence.folders.run_folder import settings_of
from harness.reporting.formats.markdown import code, escaped
from harness.reporting.verdict.in_words import gained_and_lost
from harness.reporting.verdict.wording import numbers
from harness.statistics.measurements.names import FORGETTING, MERGED_DIFFERENCE

Rows = list[list[str]]
SHOWN = ("method.", "training.", "retention.")
DRIFT, WORST = "drift.", ".worst_domain"


class _Markdown(str):
    """Text that is Markdown already."""


def model_card(facts: CardFacts) -> str:
    """Return the text of README.md. Every value in it is escaped; no path and no secret is in it."""
    again = None
    if facts.again is not None:
        notes = [names_only(o.note) for o in facts.again.outcomes.values() if o.note]
        again = {"table": _again(facts), "notes": notes, "device": facts.again.device}
    body = (
        _environment()
        .get_template("card.md.j2")
        .render(
            name=facts.name,
            what=facts.what,
            version=__version__,
            words=[line for c in facts.alone.members for line in gained_and_lost(c, facts.alone)],
            use=facts.use,
            prompts=_prompts(facts),
            serving=how_to_serve(facts),
            device=facts.record.provenance.get("device", "an unknown device"),
            measured=_measured(facts),
            signatures=_signatures(facts),
            again=again,
            bits=facts.bits,
            speed=_speed(facts),
            chosen=list(_chosen(facts)),
            settings=_settings(facts),
            data=list(_data(facts)),
            limits=list(_limits(facts)),
            base=list(_base(facts)),
            provenance=list(_provenance(facts)),
        )
    )
    return f"---\n{metadata(facts)}\n---\n\n{scrub(body)}"


def _environment() -> Environment:
    """Return the template environment: what is not Markdown already is escaped."""
    made = Environment(
        loader=PackageLoader("harness.export", "."),
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, _Markdown) else escaped(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.globals["code"] = lambda text: _Markdown("\n".join(code(text)))
    made.globals["table"] = _table
    return made


def _table(rows: Rows) -> _Markdown:
    """Return a table whose first row is its header."""
    lines = ["| " + " | ".join(map(escaped, row)) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return _Markdown("\n".join(lines))


def shown(measurements: Mapping[str, Measurement]) -> dict[str, Measurement]:
    """Return the measurements of a card: those of a whole, without the domains that make it up."""
    return {
        name: m
        for name, m in measurements.items()
        if name.count(".") == 1 or name.endswith(WORST) or not name.startswith((FORGETTING, DRIFT))
    }


def _measured(facts: CardFacts) -> Rows:
    record = facts.record
    rows = [["measurement", "this model", "untouched base", "n", "unit"]]
    for name, m in shown(record.measurements).items():
        base = f.measured(name, record.base.get(name))
        if name not in record.base and record.base_value(name) == 0:
            base = "0"
        rows.append([f.title(name), f.measured(name, m), base, f"{m.n:,}", m.unit])
    return rows


def _signatures(facts: CardFacts) -> Rows:
    found = shown(facts.record.measurements)
    return [["measurement", "signature"], *([f.title(n), m.signature] for n, m in found.items())]


def _again(facts: CardFacts) -> Rows:
    assert facts.again is not None
    outcomes = {
        name: o for name, o in facts.again.outcomes.items() if o.measurements and name != "update"
    }
    first = next(iter(outcomes.values()))
    rows = [["measurement", "trial's record", *outcomes]]
    for name, m in shown(facts.record.measurements).items():
        if name not in first.measurements:
            continue
        cells = [f.title(name), f.score(name, m.value)]
        for outcome in outcomes.values():
            own = outcome.measurements.get(name)
            cells.append(f.MISSING if own is None else _apart(name, own, first))
        rows.append(cells)
    sizes = [f.file_size(outcome.bytes) for outcome in outcomes.values()]
    speeds = [_per_second(outcome) for outcome in outcomes.values()]
    rows.append(["size", f.MISSING, *sizes])
    rows.append(["generated tokens/s", f.MISSING, *speeds])
    difference = (
        outcomes[MERGED].measurements.get(MERGED_DIFFERENCE) if MERGED in outcomes else None
    )
    if difference is not None:
        told = f"{f.setting(float(difference.value))} at {difference.n:,} tokens"
        cells = [told if name == MERGED else f.MISSING for name in outcomes]
        rows.append(["largest difference of a logit", f.MISSING, *cells])
    return rows


def _apart(name: str, own: Measurement, first: Outcome) -> str:
    text = f.score(name, own.value)
    other = first.measurements[name]
    if own is other:
        return text
    return f"{text} ({f.score(name, own.value - other.value, sign=True)})"


def _per_second(outcome: Outcome) -> str:
    return f.number(outcome.tokens_per_second, 0)


def _speed(facts: CardFacts) -> str:
    at_once = facts.config.evaluation.batch_size
    how = f"Answers to the test prompts, {at_once} at a time, {_searched(facts)}"
    if facts.again is None:
        speed = facts.record.cost.get("generation_tokens_per_second")
        if speed is None:
            return "Not measured: nothing is generated for these data."
        device = facts.record.provenance.get("device", "an unknown device")
        return f"{how}: {f.number(speed, 0)} tokens/s in the trial, on {device}, not merged."
    names = {
        "as exported": "as exported",
        MERGED: "merged",
        QUANTIZED: f"merged, {facts.bits} bits",
    }
    told = [
        f"{words} {_per_second(facts.again.outcomes[name])} tokens/s"
        for name, words in names.items()
        if name in facts.again.outcomes
    ]
    return f"{how}, on {facts.again.device}: {f.joined(told)}. One pass each."


def _searched(facts: CardFacts) -> str:
    evaluation = facts.config.evaluation
    if evaluation.do_sample:
        return "sampled"
    return "greedy" if evaluation.num_beams == 1 else f"{evaluation.num_beams} beams"


def _prompts(facts: CardFacts) -> str:
    if facts.labels:
        return f"It tells apart {len(facts.labels)} classes: {', '.join(facts.labels)}."
    if facts.config.data.is_plain_text:
        return "It was tuned on plain text, and continues the text that it is given."
    return (
        "Prompts must be written as in training: load.py does it, and prompts.json says how. Other "
        "forms, such as a second token at the beginning, cost quality."
    )


def _chosen(facts: CardFacts) -> Iterator[str]:
    choice = facts.choice
    recommendation = choice.recommendation
    yield f"Trial {choice.row.record.method}/{choice.row.folder.name}, {choice.why}."
    if choice.is_recommended:
        yield f"The report of the sweep: {recommendation.headline}"
        chosen = recommendation.chosen
        if chosen is not None and len(chosen.rows) > 1:
            yield f"All {len(chosen.rows)} seeds of this configuration: {numbers(chosen)}."
        yield from recommendation.reasons
    else:
        yield "It is not the one that the report of its sweep recommends. That says:"
        yield recommendation.headline
    searched = sum(row.record.stage != "confirm" for row in choice.run.rows)
    methods = ", ".join(choice.run.sweep.methods)
    last = len(choice.candidates.members)
    yield f"{searched} search trials of {methods}, and {last} candidates at the end."


def _settings(facts: CardFacts) -> Rows:
    rows = [["setting", "value"], ["seed", str(facts.record.seed)]]
    for path, value in settings_of(facts.record).items():
        if path.startswith(SHOWN) and value is not None and value != []:
            rows.append([path, names_only(f.setting(value))])
    return rows


def _data(facts: CardFacts) -> Iterator[str]:
    data, counts = facts.config.data, facts.record.provenance.get("data", {})
    yield f"Training data: {facts.data_label}."
    sizes = {name: counts[name] for name in ("train", "validation", "test") if name in counts}
    if sizes:
        yield "Examples: " + ", ".join(f"{name} {n:,}" for name, n in sizes.items()) + "."
    yield f"Fingerprint of all splits: {counts.get('fingerprint', 'unknown')}."
    tokens = counts.get("tokens", {})
    if tokens.get("tokens"):
        yield f"{tokens['tokens']:,} tokens in {tokens.get('n_sequences', 0):,} training sequences."
    n = counts.get(
        "general_test_documents" if facts.record.stage == "confirm" else "general_documents"
    )
    yield (
        f"Forgetting was measured on {n:,} documents of general text that were not trained on."
        if data.general and n
        else "Forgetting was not measured: no general text was given."
    )
    yield "Language: not recorded. The languages under The base are those that its card names."


def _limits(facts: CardFacts) -> Iterator[str]:
    record, choice = facts.record, facts.choice
    split = "test" if record.stage == "confirm" else "validation"
    n = {m.n for name, m in record.measurements.items() if name.startswith(f"{split}.")}
    if n:
        yield (
            f"Its quality is known from {max(n):,} {split} items of the data above. Texts of other "
            "kinds or from other sources were not measured."
        )
    if split == "validation":
        yield (
            "The search chose by these validation scores, so they are optimistic. No test split was "
            "opened."
        )
    elif choice.is_recommended and len(choice.candidates.members) > 1:
        yield (
            "Its configuration is the best of several on the same test examples, so its score is "
            "slightly optimistic."
        )
    yield (
        "Safety, truthfulness and bias were not evaluated. What is known of the base in these respects "
        "holds at most for the base."
    )
    cautions = _own_cautions(choice) if choice.is_recommended else []
    warnings: Sequence[Any] = record.provenance.get("warnings") or ()
    yield from dict.fromkeys(names_only(str(line)) for line in (*cautions, *warnings))
    for name, why in record.missing.items():
        yield f"{f.title(name)} could not be measured: {names_only(why)}"


def _own_cautions(choice: ChosenTrial) -> list[str]:
    """Return the cautions of the report without those that are about another candidate alone."""
    chosen = choice.recommendation.chosen
    others = [f"{c.label}: " for c in choice.candidates.members if c is not chosen]
    return [line for line in choice.recommendation.cautions if not line.startswith(tuple(others))]


def _base(facts: CardFacts) -> Iterator[str]:
    base, card = facts.base, facts.base_card
    at = f" at revision {base.revision}" if base.revision else ""
    where = ", read from a local folder" if base.is_unnamed else ""
    yield f"{base.label}{at}{where}; fingerprint {base.fingerprint}."
    if card is None:
        yield (
            "Licence, languages, training data and biases: unknown. The base's card is not on the "
            "machine that exported this model."
        )
        return
    for name, text in card.described().items():
        end = "" if text.endswith((".", "…")) else "."
        yield f"{name[0].upper()}{name[1:]}, as its card says: {text}{end}"


def _provenance(facts: CardFacts) -> Iterator[str]:
    record = facts.record
    yield f"Trial {record.fingerprint}, configuration {record.configuration}, stage {record.stage}."
    versions = record.provenance.get("versions") or {}
    if versions:
        yield "Trained with " + ", ".join(f"{name} {n}" for name, n in versions.items()) + "."
    seconds, memory = record.cost.get("train_seconds"), record.cost.get("peak_memory_gb")
    parameters = f.count(record.cost.get("trainable_parameters"))
    yield (
        f"Training took {f.duration(seconds)} and at most {f.gigabytes(memory)}; "
        f"{parameters} parameters were trained."
    )
