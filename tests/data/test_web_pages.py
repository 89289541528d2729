"""Pages by URL, of a server on this machine: once, politely, within limits."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest

from harness.data.rows.files import polite_requests
from harness.data.rows.files.web_pages import describe_pages, fetched_page
from harness.data.rows.general import read_general
from harness.data.rows.splits import read_splits
from harness.errors import InputError
from harness.paths import cache_folder

PAGE = "<title>Tide</title><nav>Home</nav><p>The tide is {} today.</p>"


@dataclass
class Site:
    """A server, what it answers by path, and what it was asked."""

    address: str = ""
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[tuple[str, str, float]] = field(default_factory=list)  # path, user agent, time

    def serve(self, path: str, body: str | bytes, status: int = 200, **headers: str) -> str:
        raw = body.encode() if isinstance(body, str) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = (status, {"Content-Type": "text/html"} | named, raw)
        return f"{self.address}{path}"

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]


@pytest.fixture
def site(tmp_path, monkeypatch) -> Iterator[Site]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(polite_requests, "SECONDS_APART", 0.0)
    monkeypatch.setattr(polite_requests, "_rules", {})
    monkeypatch.setattr(polite_requests, "_asked_at", {})
    found = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append((self.path, self.headers["User-Agent"], time.monotonic()))
            status, headers, body = found.answers.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    found.address = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    server.server_close()


def test_pages_become_documents_and_are_asked_for_once(site, config):
    urls = [
        site.serve(f"/{word}", PAGE.format(word), ETag='"7"') for word in ("high", "low", "out")
    ]
    text = dict(source="pages", prompt_column=None, answer_column=None, text_column="text")
    data = config(train=urls, general=None, **text)
    splits = read_splits(data)
    everything = (*splits.train, *splits.validation, *splits.test)
    assert {example.references[0] for example in everything} == {
        f"Tide\n\nThe tide is {word} today." for word in ("high", "low", "out")
    }
    assert site.paths() == ["/robots.txt", "/high", "/low", "/out"]
    assert all(agent.startswith("finetune-harness/") for _, agent, _ in site.asked)
    assert "3 fetched now" in (describe_pages(data) or "")
    kept = next((cache_folder() / "pages").glob("*.json")).read_text()
    assert '"etag": "\\"7\\""' in kept and '"sha256"' in kept and '"fetched": "20' in kept
    site.answers.clear()  # as without a network
    assert read_splits(data).fingerprint == splits.fingerprint
    assert len(site.asked) == 4


def test_a_page_is_general_text_too(site, config):
    url = site.serve("/wiki", "<p>One.</p><p>Two.</p>")
    other = site.serve("/news", "<p>Three.</p>")
    data = config(general={"wiki": url}, general_test={"wiki": other}, replay=None)
    assert read_general(data).search == {"wiki": ("One.\n\nTwo.",)}


@pytest.mark.parametrize(
    ("path", "answer", "said"),
    [
        ("/private/a", (200, {}, b"x"), "robots.txt does not allow it"),
        ("/gone", (404, {}, b""), "the server answered 404 Not Found"),
        (
            "/image",
            (200, {"Content-Type": "image/png"}, b"x"),
            "it is image/png; read are text/html",
        ),
        ("/round", (302, {"Location": "/round"}, b""), "redirected more than 5 times"),
        ("/file", (302, {"Location": "file:///etc/passwd"}, b""), "only http:// and https://"),
        ("/away", (301, {"Location": "/private/b"}, b""), "robots.txt does not allow it"),
        ("/large", (200, {"Content-Type": "text/html"}, b"x" * 2000), "larger than 0.001 MB"),
        ("/cut", (200, {"Content-Type": "text/html", "Content-Length": "900"}, b"x"), "connection"),
        ("/packed", (200, {"Content-Encoding": "gzip"}, b"x"), "it came compressed (gzip)"),
        ("/empty", (200, {"Content-Type": "text/html"}, b""), "the answer is empty"),
    ],
)
def test_a_page_that_is_not_to_be_had(site, monkeypatch, path, answer, said):
    monkeypatch.setattr(polite_requests, "LARGEST", 1000)
    rules = "User-agent: *\nDisallow: /\n\nUser-agent: finetune-harness\nDisallow: /private/\n"
    site.serve("/robots.txt", rules)
    site.answers[path] = answer
    with pytest.raises(InputError, match=f"cannot be fetched.*{re.escape(said)}"):
        fetched_page(f"{site.address}{path}")
    assert "/private/a" not in site.paths() and "/private/b" not in site.paths()
    assert not list(cache_folder().rglob("*.json"))


def test_a_server_whose_rules_fail_is_left_alone(site):
    site.serve("/robots.txt", "", status=503)
    with pytest.raises(InputError, match=r"answered 503 for its robots\.txt"):
        fetched_page(site.serve("/a", PAGE))
    assert site.paths() == ["/robots.txt"]


def test_requests_to_a_host_are_apart(site, monkeypatch):
    monkeypatch.setattr(polite_requests, "SECONDS_APART", 0.1)
    for path in ("/a", "/b"):
        fetched_page(site.serve(path, PAGE))
    times = [at for _, _, at in site.asked]
    assert min(b - a for a, b in pairwise(times)) >= 0.1


def test_the_servers_charset_counts(site):
    raw = "<meta charset=utf-8><p>日本".encode("cp932")
    url = site.serve("/ja", raw, Content_Type="text/html; charset=Shift_JIS")
    from harness.data.rows.files.sources import read_records

    assert read_records("pages", url) == [(url, {"text": "日本", "title": ""})]


def test_without_a_network_the_message_gives_a_way_out(site):
    with pytest.raises(InputError, match=r"Connection refused.*save the page as \.html"):
        fetched_page("http://127.0.0.1:9/a")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://example.org/a", "only http:// and https://"),
        ("file:///etc/passwd", "only http:// and https://"),
        ("https://me:secret@example.org/a", "holds a name or a password"),
        ("https://example.org:port/a", "is no URL"),
        ("https:///a", "only http:// and https:// with a host"),
    ],
)
def test_urls_that_are_not_fetched(config, url, said):
    with pytest.raises(InputError, match=said) as caught:
        read_splits(config(source="pages", train=[url], text_column="text"))
    assert "secret" not in str(caught.value)


def test_other_sources_do_not_fetch(config):
    with pytest.raises(InputError, match="only web pages are fetched, by data=pages"):
        read_splits(config(source="csv", train="https://example.org/a.csv"))
