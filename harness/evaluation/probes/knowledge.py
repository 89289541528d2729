"""Knowledge probes: newly trained facts, old facts, and questions that have no answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.config import DataConfig, EvaluationConfig
from harness.data.rows.chat_template import read_template
from harness.data.tokens.questions import turn_ends
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.decoding import Decoding
from harness.evaluation.generation import batches_of, generate
from harness.evaluation.probes.knowledge_questions import (
    QUESTION_KINDS,
    KnowledgeQuestion,
    KnowledgeQuestions,
    asked,
    read_probes,
)
from harness.evaluation.probes.knowledge_verdicts import (
    REPEATED,
    MatchedValue,
    one_turn,
    repetition,
    role_markers,
    verdict,
)
from harness.models.load import Base
from harness.records import read_json, write_json
from harness.records.fingerprint import digest
from harness.statistics.measurements.names import PROBES, PROBES_CHAT_KEPT, PROBES_REPETITION

if TYPE_CHECKING:
    from torch import nn

FORMAT = 4  # of what is kept of the base's answers
FORMS = ("completion", "chat")
LONGER = (
    2  # times the longest answer of the untouched model: what is longer is no answer of its kind
)


@dataclass(frozen=True)
class Answer:
    prompt: str
    form: str  # completion or chat
    text: str
    tokens: int
    repetition: float  # share of its n-grams that it has said before
    whole: bool | None  # chat: whether it is one turn, ended by itself; None for a completion


def wanted(config: EvaluationConfig) -> bool:
    return config.probes is not None


def longest(tokenizer: Any, config: EvaluationConfig, data: DataConfig | None = None) -> int:
    """Tokens of the longest probe with its answer. Raises InputError."""
    assert config.probes is not None
    prompts = asked(read_probes(config.probes), tokenizer, data)
    return max(len(one.tokens) for one in prompts) + config.probe_tokens


def ask(
    model: nn.Module,
    tokenizer: Any,
    config: EvaluationConfig,
    device: str,
    data: DataConfig | None = None,
) -> list[Answer]:
    """Return the answers of ``model`` to the knowledge questions.

    ``data`` defines how conversations are written. Raises NotTheModels.
    """
    assert config.probes is not None
    prompts = asked(read_probes(config.probes), tokenizer, data)
    in_chat = any(one.form == "chat" for one in prompts)
    ends = turn_ends(tokenizer, data) if in_chat else ()
    made = generate(
        model,
        tokenizer,
        [one.tokens for one in prompts],
        max_new_tokens=config.probe_tokens,
        num_beams=1,
        batch_size=config.batch_size,
        device=device,
        decoding=_decoding(config),
        ends=ends,
    )
    markers, end = role_markers(tokenizer), tokenizer.eos_token
    answers = []
    for probe, text, tokens in zip(prompts, made.texts, made.tokens, strict=True):
        ended = bool(tokens) and tokens[-1] in (tokenizer.eos_token_id, *ends)
        said = tokens[:-1] if ended else tokens
        whole = None
        if probe.form == "chat":
            whole = one_turn(tokenizer.decode(said), ended, markers, end)
        answers.append(Answer(probe.prompt, probe.form, text, len(said), repetition(said), whole))
    return answers


def base_answers(
    folder: Path,
    base: Base,
    config: EvaluationConfig,
    device: str,
    data: DataConfig | None = None,
) -> list[Answer]:
    """The untouched base's, generated now and kept under ``folder``."""
    answers = ask(base.model, base.tokenizer, config, device, data)
    path = _kept_at(folder, base.fingerprint, config, data)
    write_json(path, {"answers": [asdict(answer) for answer in answers]})
    return answers


def kept_answers(
    folder: Path, fingerprint: str, config: EvaluationConfig, data: DataConfig | None = None
) -> list[Answer] | None:
    """Return the cached answers of the base with that fingerprint, or None if there are none."""
    known = read_json(_kept_at(folder, fingerprint, config, data))
    return None if known is None else [Answer(**answer) for answer in known["answers"]]


def _kept_at(
    folder: Path, fingerprint: str, config: EvaluationConfig, data: DataConfig | None
) -> Path:
    assert config.probes is not None
    what = [FORMAT, fingerprint, read_probes(config.probes).name, _how(config)]
    what += [read_template(data), data and data.template_arguments]
    return folder / f"{digest(what)}.json"


def verdicts(answers: Sequence[Answer], probes: KnowledgeQuestions) -> list[MatchedValue]:
    return [_verdict(a, probe) for a, probe in zip(answers, probes.rows, strict=True)]


def _verdict(answer: Answer, probe: KnowledgeQuestion) -> MatchedValue:
    found = verdict(answer.text, probe.accepted, probe.wrong)
    claims = found.verdict == "neither" and answer.text.strip() != ""
    # Where nothing can be right and no wrong value is listed, whatever does not admit it is invented.
    if probe.kind == "unanswerable" and not probe.wrong and claims:
        return MatchedValue("invented", 0, len(answer.text))
    return found


def kept(answers: Sequence[Answer], base: Sequence[Answer]) -> list[bool | None]:
    """Return for each answer whether it still has the form of a chat model's; None for a completion.

    Such an answer is one turn, ended by the model itself, and at most ``LONGER`` times as long as
    the longest of the base's. A model tuned on documents also ends its answers, but only after a
    whole document.
    """
    most = LONGER * max(answer.tokens for answer in base)
    return [None if a.whole is None else a.whole and a.tokens <= most for a in answers]


def add_knowledge(
    measured: MeasurementCollector,
    answers: Sequence[Answer],
    base: Sequence[Answer],
    config: EvaluationConfig,
) -> None:
    """``probes.recalled``, ``.invented``, ``.repetition`` and, of a chat model, ``.chat_kept``.

    The first two of the new facts; behind another point those of another kind. Each with n, the
    number of probes; what no probe asks is not there.
    """
    assert config.probes is not None
    probes = read_probes(config.probes)
    found = verdicts(answers, probes)
    forms = "+".join(form for form in FORMS if form in {answer.form for answer in answers})
    about = f"probes:{probes.name}|form:{forms}|{_how(config)}"
    for kind in QUESTION_KINDS:
        name = "" if kind == "new" else f".{kind}"
        those = [
            (probe, v) for probe, v in zip(probes.rows, found, strict=True) if probe.kind == kind
        ]
        recalled = [v.verdict == "recalled" for p, v in those if p.kind != "unanswerable"]
        # Without a list of wrong values there is no telling an invented fact from idle words.
        open_to = [(p, v) for p, v in those if p.wrong or p.kind == "unanswerable"]
        invented = [v.verdict == "invented" for _, v in open_to]
        for measure, values in (("recalled", recalled), ("invented", invented)):
            if values:
                how = f"{about}|kind:{kind}|the first value named"
                measured.add(f"{PROBES}{measure}{name}", _column(values), how)
    repeated = [answer.repetition for answer in answers]
    measured.add(PROBES_REPETITION, _column(repeated), f"{about}|{REPEATED}-grams of tokens")
    chats = [one for one in kept(answers, base) if one is not None]
    if chats:
        how = f"{about}|one turn, ended, no role marker, at most {LONGER} x the base's longest"
        measured.add(PROBES_CHAT_KEPT, _column(chats), how)


def rows(answers: Sequence[Answer], base: Sequence[Answer], config: EvaluationConfig) -> list[dict]:
    """Return the rows of ``probes.jsonl``: each question with both models' answers and verdicts."""
    assert config.probes is not None
    probes = read_probes(config.probes)
    of_tuned = _told(answers, base, probes)
    of_base = _told(base, base, probes)
    return [
        asdict(probe) | {"tuned": tuned, "base": before}
        for probe, tuned, before in zip(probes.rows, of_tuned, of_base, strict=True)
    ]


def _told(
    answers: Sequence[Answer], base: Sequence[Answer], probes: KnowledgeQuestions
) -> list[dict]:
    found, chats = verdicts(answers, probes), kept(answers, base)
    return [
        asdict(answer) | asdict(said) | {"kept": chat}
        for answer, said, chat in zip(answers, found, chats, strict=True)
    ]


def _column(values: Sequence[bool | float]) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)[:, None]


def _decoding(config: EvaluationConfig) -> Decoding:
    if config.probe_temperature == 0:
        return Decoding()
    return Decoding(True, temperature=config.probe_temperature, top_p=config.probe_top_p)


def _how(config: EvaluationConfig) -> str:
    """For signatures."""
    heat = config.probe_temperature
    drawn = f"|temperature:{heat:g}|top_p:{config.probe_top_p:g}"
    how = f"max_new_tokens:{config.probe_tokens}{drawn if heat else '|greedy'}"
    return how + batches_of(config.batch_size)
