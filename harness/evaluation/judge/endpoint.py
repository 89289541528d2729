"""Client for one question to an OpenAI-compatible chat endpoint, with retries and validation.

Uses only the standard library. The key comes from the environment and appears in no message.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from harness.config import JudgeConfig
from harness.records import heartbeat

RETRIED = (408, 409, 425, 429)  # and 5xx
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds; each wait is twice the one before
MOST_BYTES = 4_000_000  # of a reply
MOST_SHOWN = 200  # characters of an error message that are repeated
LENGTH, NEWER_LENGTH = "max_tokens", "max_completion_tokens"  # two names of the length limit
_LENGTHS: dict[tuple[str | None, str | None], str] = {}  # (endpoint, model) → name it requires


class Refused(Exception):
    """Raised when the endpoint rejects all questions of this kind: a wrong key, model or address."""


class Unanswered(Exception):
    """Raised when a question stays unanswered after all retries."""


@dataclass(frozen=True)
class Reply:
    """A reply of the model and the tokens billed for it. None if the endpoint does not report them."""

    text: str
    input_tokens: int | None
    output_tokens: int | None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, because a key belongs to the host it was given for."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect())


def ask(config: JudgeConfig, system: str, message: str) -> Reply:
    """Ask one question. Raises Refused or Unanswered, with the reason in one line.

    Some endpoints call the length limit max_completion_tokens. Such an endpoint is asked again under
    that name, which is used from then on.
    """
    wait, reason = FIRST_WAIT, ""
    asked = (config.endpoint, config.model)
    length = _LENGTHS.get(asked, LENGTH)
    for attempt in range(config.max_retries + 1):
        if attempt:
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
        try:
            return _once(config, system, message, length)
        except urllib.error.HTTPError as error:
            reply_body = _body(error)
            if length == LENGTH and error.code in (400, 422) and _is_unknown(LENGTH, reply_body):
                _LENGTHS[asked] = NEWER_LENGTH
                return ask(config, system, message)
            reason = f"HTTP {error.code}: {_hidden(config, reply_body)[:MOST_SHOWN]}"
            if error.code in (400, 422) and "temperature" in reply_body and config.temperature != 1:
                reason += " (some models accept only evaluation.judge.temperature=1)"
            if error.code not in RETRIED and error.code < 500:
                raise Refused(reason) from None
            wait = max(wait, _asked_to_wait(error))
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
            reason = _hidden(config, f"{type(error).__name__}: {error}")
    raise Unanswered(f"{reason} (asked {config.max_retries + 1} times)") from None


def _is_unknown(field: str, reply_body: str) -> bool:
    """Return True if the endpoint reports that it does not know ``field``, or names its successor."""
    words = ("unsupported", "not supported", "unrecognized", "unknown", "not permitted", "extra")
    if NEWER_LENGTH in reply_body:
        return True
    return field in reply_body and any(word in reply_body.lower() for word in words)


def _once(config: JudgeConfig, system: str, message: str, length: str) -> Reply:
    heartbeat.mark()
    body = {
        "model": config.model,
        "messages": [
            {"role": "system", "content": system},
            {"role": "user", "content": message},
        ],
        "temperature": config.temperature,
        length: config.max_tokens,
    }
    headers = {"Content-Type": "application/json"}
    key = _key(config)
    if key:
        headers["Authorization"] = f"Bearer {key}"
    url = f"{(config.endpoint or '').rstrip('/')}/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    with _OPENER.open(request, timeout=config.timeout_seconds) as response:
        data = json.loads(response.read(MOST_BYTES))
    text = data["choices"][0]["message"]["content"]
    if not isinstance(text, str):
        raise ValueError("a reply without text")
    usage = data.get("usage") or {}
    return Reply(text, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))


def _count(usage: Any, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _key(config: JudgeConfig) -> str:
    return os.environ.get(config.api_key_variable or "", "").strip()


def _body(error: urllib.error.HTTPError) -> str:
    try:
        return " ".join(error.read(2000).decode("utf-8", "replace").split()) or error.reason
    except (OSError, http.client.HTTPException):
        return str(error.reason)


def _hidden(config: JudgeConfig, text: str) -> str:
    """Remove the key from a text, since some servers repeat it in their replies."""
    key = _key(config)
    return text.replace(key, "***") if key else text


def _asked_to_wait(error: urllib.error.HTTPError) -> float:
    try:
        return min(float(error.headers.get("Retry-After") or 0), LONGEST_WAIT)
    except ValueError:  # the header holds a date: our own waiting times apply
        return 0.0
