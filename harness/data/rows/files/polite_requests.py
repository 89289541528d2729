"""Polite requests for web pages: as robots.txt allows, one a second to a host, within limits.

RFC 9309 defines robots.txt. Pages are asked for under this tool's own name, one at a time.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from contextlib import suppress
from email.message import Message
from typing import Any
from urllib.parse import quote, urljoin, urlsplit, urlunsplit
from urllib.robotparser import RobotFileParser

from harness import __version__
from harness.errors import InputError

__all__ = ["SUFFIX_OF_TYPE", "Refused", "checked_url", "is_url", "request_page"]

AGENT = "finetune-harness"  # as robots.txt names it
USER_AGENT = f"{AGENT}/{__version__} (fetches each page once, as training text)"
SECONDS_APART = 1.0  # between two requests to a host; more if its robots.txt asks for it
LONGEST_WAIT = 60.0  # of a robots.txt's Crawl-delay, in seconds
TIMEOUT = 20.0  # seconds without a byte
WHOLE_TIMEOUT = 120.0  # seconds for a page
LARGEST = 10_000_000  # bytes of a page
LARGEST_ROBOTS = 500_000  # bytes that are read of a robots.txt; RFC 9309 asks for 500 KiB
MOST_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
SUFFIX_OF_TYPE = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/plain": ".txt",
    "text/markdown": ".txt",
}

_asked_at: dict[str, float] = {}  # host → when it was last asked, in seconds of the monotonic clock
_rules: dict[str, RobotFileParser] = {}  # scheme and host → its robots.txt


class Refused(Exception):
    """A page that is not to be had, with the reason."""


def is_url(text: str) -> bool:
    """Return whether ``text`` has the form of a URL, of any scheme."""
    scheme, mark, _ = text.partition("://")
    return bool(mark) and scheme.replace("+", "").isalnum()


def checked_url(url: str) -> str:
    """Return ``url`` without its fragment. Raises InputError for one that is not fetched."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # raises for a port that is no number
    except ValueError as error:
        raise InputError(f"{url!r} is no URL: {error}.") from None
    if parts.scheme.lower() not in ("http", "https") or not host:
        raise InputError(f"{url!r} cannot be fetched: only http:// and https:// with a host are.")
    if parts.username is not None or parts.password is not None:
        raise InputError(
            f"The URL of a page on {host} holds a name or a password, and configuration is recorded. "
            "Save the page and give the path of the file."
        )
    if any(letter.isspace() or ord(letter) < 32 for letter in url):
        raise InputError(f"{url!r} is no URL: it holds a space or a control character.")
    with suppress(UnicodeError):  # a name of other letters, as DNS has it
        host = host.encode("idna").decode("ascii")
    netloc = (f"[{host}]" if ":" in host else host) + (f":{parts.port}" if parts.port else "")
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    return urlunsplit((parts.scheme.lower(), netloc, path, query, ""))


def request_page(url: str) -> tuple[bytes, Message, str]:
    """Return body, headers and final address of the page at a URL that ``checked_url`` returned.

    Raises Refused for a page that is not to be had, and OSError or HTTPException without a connection.
    """
    for _ in range(1 + MOST_REDIRECTS):
        _check_allowed(url)
        status, raw, headers = _request(url, LARGEST)
        if status not in REDIRECTS:
            if status != 200:
                reason = http.client.responses.get(status, "")
                raise Refused(f"the server answered {status} {reason}".rstrip())
            if len(raw) > LARGEST:
                raise Refused(f"it is larger than {LARGEST / 1e6:g} MB")
            packed = headers.get("Content-Encoding", "identity")
            if packed != "identity":
                raise Refused(f"it came compressed ({packed}), which was not asked for")
            if not raw:
                raise Refused("the answer is empty")
            kind = headers.get_content_type()
            if kind not in SUFFIX_OF_TYPE:
                raise Refused(f"it is {kind}; read are {', '.join(SUFFIX_OF_TYPE)}")
            return raw, headers, url
        before, url = url, urljoin(url, headers.get("Location") or "")
        try:
            url = checked_url(url)
        except InputError as error:
            raise Refused(f"it leads to an address that is not used: {error}") from None
        if before.startswith("https:") and not url.startswith("https:"):
            raise Refused(f"it leads from https to {url}")
    raise Refused(f"it was redirected more than {MOST_REDIRECTS} times")


def _check_allowed(url: str) -> None:
    """Raise Refused if the host's robots.txt does not allow the page."""
    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.netloc}"
    if place not in _rules:
        _rules[place] = _robots(f"{place}/robots.txt")
    if not _rules[place].can_fetch(AGENT, url):
        raise Refused(f"{place}/robots.txt does not allow it")


def _robots(url: str) -> RobotFileParser:
    """Return the rules of a robots.txt. Without one all is allowed; if the server fails, nothing is.

    RFC 9309, sections 2.3.1.3 and 2.3.1.4.
    """
    rules = RobotFileParser()
    status, raw = 0, b""
    for _ in range(1 + MOST_REDIRECTS):
        status, raw, headers = _request(url, LARGEST_ROBOTS)
        if status not in REDIRECTS:
            break
        url = checked_url(urljoin(url, headers.get("Location") or ""))
    if status == 200:
        rules.parse(raw[:LARGEST_ROBOTS].decode("utf-8", "replace").splitlines())
    elif 300 <= status < 500:
        rules.parse([])
    else:
        raise Refused(f"the server answered {status} for its robots.txt, so nothing is allowed")
    return rules


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Returns redirects as answers: each new address is checked first."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _request(url: str, most: int) -> tuple[int, bytes, Message]:
    """Return status, at most ``most`` + 1 bytes, and headers. Waits for the host's turn.

    Raises OSError without a connection, and Refused for an answer that takes too long.
    """
    parts = urlsplit(url)
    rules = _rules.get(f"{parts.scheme}://{parts.netloc}")
    asked = None if rules is None else rules.crawl_delay(AGENT)
    apart = min(LONGEST_WAIT, max(SECONDS_APART, float(asked or 0)))
    time.sleep(max(0.0, _asked_at.get(parts.netloc, -apart) + apart - time.monotonic()))
    handlers = (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _NoRedirect(),
        urllib.request.HTTPErrorProcessor(),
    )  # not those of ftp:// and file://
    opener = urllib.request.OpenerDirector()
    for handler in handlers:
        opener.add_handler(handler)
    accepted = ", ".join(SUFFIX_OF_TYPE)
    request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT, "Accept": accepted})
    try:
        with opener.open(request, timeout=TIMEOUT) as answer:
            return answer.status, _body(answer, most), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b"", error.headers
    finally:
        _asked_at[parts.netloc] = time.monotonic()


def _body(answer: http.client.HTTPResponse, most: int) -> bytes:
    """Return the body, up to ``most`` + 1 bytes. Raises Refused if it comes too slowly."""
    until, parts, n_bytes = time.monotonic() + WHOLE_TIMEOUT, [], 0
    while n_bytes <= most:
        part = answer.read1(min(65536, most + 1 - n_bytes))
        if not part:
            break
        parts.append(part)
        n_bytes += len(part)
        if time.monotonic() > until:
            raise Refused(f"it took longer than {WHOLE_TIMEOUT:g} s")
    length = answer.headers.get("Content-Length", "")
    if length.isdigit() and n_bytes < min(int(length), most):
        raise Refused(f"the connection ended after {n_bytes:,} of {int(length):,} bytes")
    return b"".join(parts)
