"""Web pages by URL: each is fetched once and kept in the user's cache with its fingerprint.

A page that is kept is never asked for again, so all trials and all later sweeps read the same text.
"""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.config import DataConfig
from harness.data.rows.files.polite_requests import (
    SUFFIX_OF_TYPE,
    Refused,
    checked_url,
    is_url,
    request_page,
)
from harness.errors import InputError, first_line
from harness.paths import cache_folder
from harness.records import read_json, write_json
from harness.terminal.phases import phase

__all__ = ["WebPage", "describe_pages", "fetched_page", "is_url"]

_new: set[str] = set()  # fetched by this process


@dataclass(frozen=True)
class WebPage:
    """A page in the cache."""

    url: str
    path: Path
    charset: str | None  # as the server declared it
    fetched: str  # date and time, UTC
    sha256: str
    is_new: bool  # fetched now, by this process


def fetched_page(url: str) -> WebPage:
    """Return the page at ``url`` from the cache, fetched first if it is not there.

    Raises InputError for a URL that cannot be used, and for a page that cannot be had.
    """
    url = checked_url(url)
    kept = _kept(url)
    if kept is None:
        with phase(f"fetching {url}"):
            _fetch(url)
        kept = _kept(url)
        assert kept is not None, url
        _new.add(url)
    return kept


def describe_pages(config: DataConfig) -> str | None:
    """Return where the web pages of ``config`` came from, in two sentences; None if there are none."""
    urls = dict.fromkeys(checked_url(text) for text in _texts(config) if is_url(text))
    pages = [page for page in map(_kept, urls) if page is not None]
    if not pages:
        return None
    new = sum(page.is_new for page in pages)
    parts = [f"{new} fetched now"] * bool(new)
    if len(pages) > new:
        dates = sorted(page.fetched[:10] for page in pages if not page.is_new)
        when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
        parts.append(f"{len(pages) - new} from the cache (fetched {when})")
    return f"Web pages: {', '.join(parts)}. Kept in {_folder()}; delete a page there to fetch it again."


def _texts(config: DataConfig) -> Iterator[str]:
    for name in ("train", "validation", "test", "general", "general_test", "replay"):
        given = getattr(config, name) or ()
        if isinstance(given, str):
            yield given
        else:
            yield from given.values() if isinstance(given, dict) else given


def _folder() -> Path:
    return cache_folder() / "pages"


def _file(url: str) -> Path:
    """Return the description of a page in the cache; the page lies beside it."""
    return _folder() / f"{hashlib.sha256(url.encode()).hexdigest()[:24]}.json"


def _kept(url: str) -> WebPage | None:
    """Return a page of the cache if it is whole."""
    known = read_json(_file(url))
    if not isinstance(known, dict) or known.get("url") != url:
        return None
    path = _folder() / Path(str(known.get("file"))).name
    with suppress(OSError):
        if hashlib.sha256(path.read_bytes()).hexdigest() == known.get("sha256"):
            return WebPage(
                url, path, known.get("charset"), known["fetched"], known["sha256"], url in _new
            )
    return None


def _fetch(url: str) -> None:
    try:
        raw, headers, final = request_page(url)
    except Refused as error:
        raise InputError(f"{url} cannot be fetched: {error}.") from None
    except (OSError, http.client.HTTPException) as error:  # no network among them
        reason = getattr(error, "reason", error)
        why = first_line(reason) if isinstance(reason, Exception) else str(reason)
        raise InputError(
            f"{url} cannot be fetched ({why}), and is not in {_folder()}. Without a network, save the "
            "page as .html where there is one, and give the path of the file."
        ) from None
    file = _file(url)
    file.parent.mkdir(parents=True, exist_ok=True)
    page = file.with_suffix(SUFFIX_OF_TYPE[headers.get_content_type()])
    aside = page.with_suffix(".tmp")
    aside.write_bytes(raw)
    aside.replace(page)
    described = {
        "url": url,
        "final_url": final,
        "file": page.name,
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "bytes": len(raw),
        "content_type": headers.get_content_type(),
        "charset": headers.get_content_charset(),
        "etag": headers.get("ETag"),
        "last_modified": headers.get("Last-Modified"),
    }
    write_json(file, described)  # last: without it the page is not in the cache
