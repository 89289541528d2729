"""Settings of the language model that judges answers: endpoint, request and cost limits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from harness.config.strict import require

# Fields that change no answer of the judge, and so are no part of a score's signature.
FREE = (
    *("api_key_variable", "max_retries", "timeout_seconds", "concurrency"),
    *("price_per_million_input_tokens", "price_per_million_output_tokens", "during_search"),
)


@dataclass(frozen=True)
class JudgeConfig:
    """Settings of the metric 'judge', for any OpenAI-compatible chat endpoint."""

    endpoint: str | None  # up to and without /chat/completions: http://localhost:8000/v1
    model: str | None  # its name at the endpoint
    rubric: str | None  # a file with {prompt}, {reference} and {answer} in it; null: ours
    scale: list[float]  # the lowest and the highest score
    temperature: float
    max_tokens: int  # of the judge's answer
    api_key_variable: str | None  # NAME of the environment variable with the key, never the key
    max_retries: int  # after 408, 409, 425, 429, 5xx, a time-out or a broken connection
    timeout_seconds: float  # of one request
    concurrency: int  # requests at once
    price_per_million_input_tokens: float
    price_per_million_output_tokens: float
    most_missing: float  # share of answers without a score beyond which there is no value at all
    during_search: bool  # judge every trial, not only finalists and trials by hand

    def __post_init__(self) -> None:
        at = "evaluation.judge."
        if self.endpoint is not None:
            parts = urlsplit(self.endpoint)
            require(
                parts.scheme in ("http", "https")
                and bool(parts.hostname)
                and "@" not in parts.netloc,
                at + "endpoint",
                "***" if "@" in parts.netloc else self.endpoint,
                "an http(s) address such as http://localhost:8000/v1, without a user or a password",
            )
            query = parts.query or parts.fragment
            require(not query, at + "endpoint", "…?***", "an address without a query")
        name = self.api_key_variable
        require(
            name is None or bool(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name)),
            at + "api_key_variable",
            "***",  # a wrong value may be the key itself
            "null or the name of an environment variable",
        )
        low_high = len(self.scale) == 2 and self.scale[0] < self.scale[1]
        require(low_high, at + "scale", self.scale, "two numbers, the lowest score first")
        for field in ("max_tokens", "concurrency"):
            require(getattr(self, field) >= 1, at + field, getattr(self, field), "at least 1")
        require(self.timeout_seconds > 0, at + "timeout_seconds", self.timeout_seconds, "above 0")
        for field in (
            *("temperature", "max_retries"),
            *("price_per_million_input_tokens", "price_per_million_output_tokens"),
        ):
            require(getattr(self, field) >= 0, at + field, getattr(self, field), "0 or more")
        share = self.most_missing
        require(0 <= share <= 1, at + "most_missing", share, "a share in [0, 1]")
