"""Answers scored by another language model under a rubric. Replies are cached on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from harness.config import EvaluationConfig, JudgeConfig
from harness.config.metrics import JUDGE
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.judge import endpoint
from harness.evaluation.judge.rubric import SYSTEM, question, read_rubric, score_in
from harness.language import recorded
from harness.records import read_json, write_json
from harness.records.fingerprint import digest

FORMAT = 1


def add_judged(
    measured: MeasurementCollector,
    base_outputs: Sequence[str],
    config: EvaluationConfig,
    cache: Path,
) -> None:
    """Add ``SPLIT.judge`` for the answers in ``measured``, and for the base's answers.

    A score without a value is in ``measured.missing`` with its reason. Tokens and their price are
    added to ``measured.cost``, except for replies found in ``cache``.
    """
    rows = measured.predictions
    if JUDGE not in config.metrics or not rows:
        return
    name = f"{rows[0]['split']}.{JUDGE}"
    whole_signature = signature(config.judge) + measured.how_answered
    judge = Judge(config.judge, cache)
    judge.add(measured, name, rows, [str(row["output"]) for row in rows], whole_signature)
    base = MeasurementCollector(measured.resamples)
    if len(base_outputs) == len(rows):
        judge.add(base, name, rows, base_outputs, whole_signature)
    measured.missing.update({f"base {key}": reason for key, reason in base.missing.items()})
    for key, value in judge.cost().items():
        measured.cost[key] = measured.cost.get(key, 0.0) + value
    measured.base |= base.measurements


def signature(config: JudgeConfig) -> str:
    """Return the settings that determine the meaning of a score: model, rubric, scale, sampling."""
    address = urlsplit(config.endpoint or "")
    low, high = config.scale
    return (
        f"judge:{config.model}|endpoint:{address.netloc}{address.path}"
        f"|rubric:{digest([SYSTEM, read_rubric(config)])}|scale:{low:g} to {high:g}"
        f"|temperature:{config.temperature:g}|max_tokens:{config.max_tokens}|format:{FORMAT}|mean"
    )


@dataclass
class Judge:
    """Asks the endpoint and caches its replies."""

    config: JudgeConfig
    cache: Path
    paid: Counter[str] = field(default_factory=Counter)

    def add(
        self,
        measured: MeasurementCollector,
        name: str,
        rows: Sequence[Mapping[str, Any]],
        outputs: Sequence[str],
        signature: str,
    ) -> None:
        """Add the mean score of ``outputs``, one answer to the prompt of each of ``rows``."""
        template, scale = read_rubric(self.config), self.config.scale
        asked = [
            question(template, scale, str(row["prompt"]), list(row["references"]), output)
            for row, output in zip(rows, outputs, strict=True)
        ]
        scores, reasons = self.scores(asked)
        n, missing = len(asked), sum(score is None for score in scores)
        if missing:
            common = "; ".join(f"{text} ({k})" for text, k in reasons.most_common(3))
            why = recorded(
                "{missing} of {n} answers have no score: {common}",
                missing=missing,
                n=n,
                common=common,
            )
            if missing == n or missing > self.config.most_missing * n:
                measured.miss(name, why)
                return
            measured.miss(f"{name} of {missing} of {n} answers", why)
        columns = [[0.0, 0.0] if score is None else [score, 1.0] for score in scores]
        measured.add(name, np.array(columns), signature)

    def scores(self, asked: Sequence[str]) -> tuple[list[float | None], Counter[str]]:
        """Return the score of each question (None if missing), and the reasons with their counts.

        No further questions are sent once more than ``most_missing`` of them have failed, or the
        endpoint has refused one.
        """
        different = list(dict.fromkeys(asked))
        failed: Counter[str] = Counter()
        allowed = self.config.most_missing * len(different)

        def one(message: str) -> float | str:
            if failed.total() > allowed or failed["refused"]:
                return "not asked any more"
            try:
                reply = self.reply(message)
            except endpoint.Refused as error:
                failed["refused"] += 1
                return f"the endpoint refuses: {error}"
            except endpoint.Unanswered as error:
                failed["unanswered"] += 1
                return str(error)
            score = score_in(reply, self.config.scale)
            return (
                "the reply has no last line 'Score: NUMBER' on the scale"
                if score is None
                else score
            )

        with ThreadPoolExecutor(self.config.concurrency) as threads:
            found = dict(zip(different, threads.map(one, different), strict=True))
        results = [found[message] for message in asked]
        reasons = Counter(each for each in results if isinstance(each, str))
        return [None if isinstance(each, str) else each for each in results], reasons

    def reply(self, message: str) -> str:
        """Return the reply from the cache or the endpoint. Raises Refused or Unanswered."""
        config = self.config
        settings = [config.endpoint, config.model, config.temperature, config.max_tokens]
        key = digest([FORMAT, SYSTEM, message, settings], 32)
        path = self.cache / key[:2] / f"{key}.json"
        kept = read_json(path)
        if isinstance(kept, dict) and isinstance(kept.get("reply"), str):
            return kept["reply"]
        reply = endpoint.ask(config, SYSTEM, message)
        tokens = {"input": reply.input_tokens, "output": reply.output_tokens}
        write_json(path, {"reply": reply.text, "tokens": tokens})
        self.paid["requests"] += 1
        self.paid.update({which: n for which, n in tokens.items() if n is not None})
        return reply.text

    def cost(self) -> dict[str, float]:
        """Return requests, tokens and, if prices are configured, their price."""
        config, paid = self.config, self.paid
        cost = {
            "judge_requests": float(paid["requests"]),
            "judge_input_tokens": float(paid["input"]),
            "judge_output_tokens": float(paid["output"]),
        }
        prices = (config.price_per_million_input_tokens, config.price_per_million_output_tokens)
        if any(prices):
            spent = paid["input"] * prices[0] + paid["output"] * prices[1]
            cost["judge_price"] = round(spent / 1e6, 6)
        return cost
