"""Model card of a base on this machine: licence, languages, training data and known biases."""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import ModelConfig
from harness.models.loading.location import model_path

LONGEST = 600  # limit on the quoted characters of a section
LARGEST = 2_000_000  # limit on the size of a card in bytes
NETWORK_SECONDS = 5.0
UNKNOWN = "unknown"
_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*$", re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
SECTIONS = {
    "training data": re.compile(
        r"\btraining[ -](data|corpus|corpora|set)\b|\bpre-?training\b", re.I
    ),
    "biases and limitations": re.compile(r"\b(bias(es)?|limitations?|risks?|ethic\w*)\b", re.I),
}


@dataclass(frozen=True)
class BaseCard:
    """Contents of a model card; None or empty if missing."""

    licence: str | None = None  # the hub's identifier, such as 'apache-2.0'
    licence_name: str | None = None  # name of a licence 'other'
    licence_link: str | None = None
    languages: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    training_data: str | None = None  # beginning of the section, on one line
    biases: str | None = None

    def described(self) -> dict[str, str]:
        """Return licence, languages, training data and biases as texts; 'unknown' where not said."""
        link = f" ({self.licence_link})" if self.licence_link else ""
        licence = self.licence_name or self.licence
        found = {
            "licence": licence and f"{licence}{link}",
            "languages": ", ".join(self.languages),
            "training data": self.training_data or ", ".join(self.datasets),
            "biases and limitations": self.biases,
        }
        return {name: _printable(text) if text else UNKNOWN for name, text in found.items()}


def read_base_card(config: ModelConfig) -> BaseCard | None:
    """Return the contents of the base's README.md, from its folder or the hub's cache.

    None if there is none or it cannot be read. Nothing is downloaded.
    """
    path = _place(config)
    try:
        if path is None or path.stat().st_size > LARGEST:
            return None
        return parsed(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def describe_base(config: ModelConfig) -> dict[str, str] | None:
    """Return what the card on this machine says, as texts; None without a card."""
    card = read_base_card(config)
    return None if card is None else card.described()


def fetch_base_card(config: ModelConfig) -> None:
    """Download the card of a model on the hub, where it is not in the cache. It may be missing."""
    if Path(model_path(config)).is_dir() or _place(config) is not None:
        return
    from huggingface_hub import constants, hf_hub_download

    if constants.HF_HUB_OFFLINE:
        return
    with suppress(Exception):  # no network, no card, no permission: what it says stays unknown
        hf_hub_download(
            config.name, "README.md", revision=config.revision, etag_timeout=NETWORK_SECONDS
        )


def _printable(text: str) -> str:
    """Return ``text`` on one line, without characters that would control a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _place(config: ModelConfig) -> Path | None:
    """Return the path of the card, or None."""
    folder = Path(model_path(config))
    if folder.is_dir():
        return folder / "README.md"
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(config.name, "README.md", revision=config.revision)
    return Path(found) if isinstance(found, str) else None


def parsed(text: str) -> BaseCard:
    """Parse a card in the hub's format: YAML between two lines of ---, then Markdown."""
    from huggingface_hub import ModelCard

    # About a card without YAML, or with one that cannot be read.
    logging.getLogger("huggingface_hub.repocard").setLevel(logging.ERROR)
    values: dict[str, Any] = {}
    body = text
    try:
        card = ModelCard(text, ignore_metadata_errors=True)
        values, body = card.data.to_dict(), card.text
    except Exception:  # any error of the YAML parser; the text below may still be readable
        pass
    sections = {name: _section(body, pattern) for name, pattern in SECTIONS.items()}
    return BaseCard(
        licence=_one(values.get("license")),
        licence_name=_one(values.get("license_name")),
        licence_link=_one(values.get("license_link")),
        languages=_several(values.get("language")),
        datasets=_several(values.get("datasets")),
        training_data=sections["training data"],
        biases=sections["biases and limitations"],
    )


def _section(body: str, pattern: re.Pattern[str]) -> str | None:
    """Return the beginning of the first non-empty section with a matching heading, on one line."""
    headings = list(_HEADING.finditer(body))
    for at, heading in enumerate(headings):
        if not pattern.search(heading[2]):
            continue
        level = len(heading[1])
        end = next((h.start() for h in headings[at + 1 :] if len(h[1]) <= level), len(body))
        lines = _COMMENT.sub("", body[heading.end() : end])
        said = " ".join(_HEADING.sub("", lines).split())
        if said and "more information needed" not in said.lower():
            return said if len(said) <= LONGEST else f"{said[:LONGEST].rsplit(' ', 1)[0]} …"
    return None


def _one(value: Any) -> str | None:
    """Return the first text of a value, or None."""
    found = _several(value)
    return found[0] if found else None


def _several(value: Any) -> tuple[str, ...]:
    """Return the texts of a value that holds one or several."""
    values = value if isinstance(value, list) else [value]
    # YAML reads the language no (Norwegian) as false
    words = ["no" if one is False else one for one in values]
    return tuple(str(one) for one in words if isinstance(one, str | int | float) and str(one))
