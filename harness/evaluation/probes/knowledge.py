"""Knowledge probe: questions about newly trained facts, old facts, and facts that do not exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from harness.config import DataConfig, EvaluationConfig
from harness.data.tokens.questions import turn_ends
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.decoding import Decoding
from harness.evaluation.generation import batches_of
from harness.evaluation.probes.knowledge_questions import (
    QUESTION_KINDS,
    AskedQuestion,
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
from harness.evaluation.probes.probe import Answers, Probe, Questions
from harness.evaluation.texts import Texts
from harness.statistics.measurements.names import PROBES, PROBES_CHAT_KEPT, PROBES_REPETITION

FORMS = ("completion", "chat")
LONGER = 2  # a chat answer may have this many times the tokens of the base's longest answer


@dataclass(frozen=True)
class KnowledgeAnswer:
    """One answer with its length, repetition and form."""

    prompt: str
    form: str  # completion or chat
    text: str
    tokens: int
    repetition: float  # share of its n-grams that are repeats
    whole: bool | None  # chat: True for one turn that the model ended; None for a completion


@dataclass(frozen=True)
class KnowledgeProbe(Probe):
    """Probe of facts, asked as questions of a chat model and as completions of any other."""

    questions: Questions
    asked: tuple[AskedQuestion, ...]
    facts: KnowledgeQuestions
    tokenizer: Any
    name: ClassVar[str] = "probes"

    @classmethod
    def configured(
        cls, texts: Texts, tokenizer: Any, config: EvaluationConfig, data: DataConfig | None
    ) -> KnowledgeProbe | None:
        """Return the probe of ``evaluation.probes``, if given. Raises InputError."""
        if config.probes is None:
            return None
        facts = read_probes(config.probes)
        prompts = asked(facts, tokenizer, data)
        in_chat = any(one.form == "chat" for one in prompts)
        questions = Questions(
            [one.tokens for one in prompts],
            config.probe_tokens,
            config.batch_size,
            ends=turn_ends(tokenizer, data) if in_chat else (),
            decoding=_decoding(config),
        )
        return cls(questions, tuple(prompts), facts, tokenizer)

    def read(self, answers: Answers) -> list[KnowledgeAnswer]:
        """Return each answer with its length, its repetition, and if it is one whole turn."""
        markers, end = role_markers(self.tokenizer), self.tokenizer.eos_token
        found = []
        ends = {self.tokenizer.eos_token_id, *self.questions.ends}
        for question, text, tokens in zip(self.asked, answers.texts, answers.tokens, strict=True):
            ended = bool(tokens) and tokens[-1] in ends
            answer_tokens = tokens[:-1] if ended else tokens
            whole = None
            if question.form == "chat":
                whole = one_turn(self.tokenizer.decode(answer_tokens), ended, markers, end)
            found.append(
                KnowledgeAnswer(
                    prompt=question.prompt,
                    form=question.form,
                    text=text,
                    tokens=len(answer_tokens),
                    repetition=repetition(answer_tokens),
                    whole=whole,
                )
            )
        return found

    def add_levels(self, measured: MeasurementCollector, answers: Answers, base: Answers) -> None:
        """Add the measurements ``probes.*``, see ``add_shares``."""
        add_shares(measured, self.read(answers), self.read(base), self.facts, _how(self.questions))

    def files(self, answers: Answers, base: Answers) -> Mapping[str, list[dict[str, Any]]]:
        """Return ``probes.jsonl``: each question with both models' answers and verdicts."""
        of_base = self.read(base)
        tuned, before = (_rows(own, of_base, self.facts) for own in (self.read(answers), of_base))
        pairs = zip(self.facts.rows, tuned, before, strict=True)
        return {self.name: [asdict(fact) | {"tuned": t, "base": b} for fact, t, b in pairs]}


def verdicts(answers: Sequence[KnowledgeAnswer], probes: KnowledgeQuestions) -> list[MatchedValue]:
    return [_verdict(a, probe) for a, probe in zip(answers, probes.rows, strict=True)]


def _verdict(answer: KnowledgeAnswer, probe: KnowledgeQuestion) -> MatchedValue:
    found = verdict(answer.text, probe.accepted, probe.wrong)
    claims = found.verdict == "neither" and answer.text.strip() != ""
    # Without listed wrong values, any answer to an unanswerable question that does not admit it
    # counts as invented.
    if probe.kind == "unanswerable" and not probe.wrong and claims:
        return MatchedValue("invented", 0, len(answer.text))
    return found


def kept(answers: Sequence[KnowledgeAnswer], base: Sequence[KnowledgeAnswer]) -> list[bool | None]:
    """Return for each answer whether it still has the form of a chat model's; None for a completion.

    Such an answer is one turn, ended by the model itself, and at most ``LONGER`` times as long as
    the longest of the base's. A model tuned on documents also ends its answers, but only after a
    whole document.
    """
    most = LONGER * max(answer.tokens for answer in base)
    return [None if a.whole is None else a.whole and a.tokens <= most for a in answers]


def add_shares(
    measured: MeasurementCollector,
    answers: Sequence[KnowledgeAnswer],
    base: Sequence[KnowledgeAnswer],
    probes: KnowledgeQuestions,
    how: str,
) -> None:
    """Add ``probes.recalled``, ``.invented``, ``.repetition`` and, for chat models, ``.chat_kept``.

    Recalled and invented are measured for new facts under these names, and for other kinds with the
    kind appended (``probes.recalled.old``). Their n is the number of questions. A kind without
    questions has no measurement. ``how`` describes the generation of the answers in signatures.
    """
    found = verdicts(answers, probes)
    forms = "+".join(form for form in FORMS if form in {answer.form for answer in answers})
    signature = f"probes:{probes.name}|form:{forms}|{how}"
    for kind in QUESTION_KINDS:
        name = "" if kind == "new" else f".{kind}"
        those = [
            (probe, v) for probe, v in zip(probes.rows, found, strict=True) if probe.kind == kind
        ]
        recalled = [v.verdict == "recalled" for p, v in those if p.kind != "unanswerable"]
        # Without a list of wrong values an invented fact cannot be told from an evasive answer.
        open_to = [(p, v) for p, v in those if p.wrong or p.kind == "unanswerable"]
        invented = [v.verdict == "invented" for _, v in open_to]
        for measure, values in (("recalled", recalled), ("invented", invented)):
            if values:
                own = f"{signature}|kind:{kind}|the first value named"
                measured.add(f"{PROBES}{measure}{name}", _column(values), own)
    repeated = [answer.repetition for answer in answers]
    measured.add(PROBES_REPETITION, _column(repeated), f"{signature}|{REPEATED}-grams of tokens")
    chats = [one for one in kept(answers, base) if one is not None]
    if chats:
        own = f"one turn, ended, no role marker, at most {LONGER} x the base's longest"
        measured.add(PROBES_CHAT_KEPT, _column(chats), f"{signature}|{own}")


def _rows(
    answers: Sequence[KnowledgeAnswer], base: Sequence[KnowledgeAnswer], probes: KnowledgeQuestions
) -> list[dict]:
    found, chats = verdicts(answers, probes), kept(answers, base)
    return [
        asdict(answer) | asdict(matched) | {"kept": chat}
        for answer, matched, chat in zip(answers, found, chats, strict=True)
    ]


def _column(values: Sequence[bool | float]) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)[:, None]


def _decoding(config: EvaluationConfig) -> Decoding:
    if config.probe_temperature == 0:
        return Decoding()
    return Decoding(True, temperature=config.probe_temperature, top_p=config.probe_top_p)


def _how(questions: Questions) -> str:
    """Describe for signatures how the answers were generated."""
    decoding = questions.decoding
    drawn = f"|temperature:{decoding.temperature:g}|top_p:{decoding.top_p:g}"
    how = f"max_new_tokens:{questions.max_new_tokens}{drawn if decoding.do_sample else '|greedy'}"
    return how + batches_of(questions.batch_size)
