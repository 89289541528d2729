"""A report in Japanese: the page, the Markdown, the JSON and the terminal, and no English left."""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from harness import report
from harness.reporting import build_report
from harness.reporting.formats.terminal_board import announce

REPORTING = Path(__file__).parents[2] / "harness" / "reporting"
ENGLISH = re.compile(r"[A-Za-z']{2,}(?: [A-Za-z']{2,}){2,}")  # three words or more
# of a metric, of a part of a signature, and of authors
NAMES = ("bits per byte", "top k and tail", "Dodge et al")


class Visible(HTMLParser):
    """Collects what a reader sees or hears of a page, without code, data and outputs."""

    SINGLE = ("meta", "br", "input", "link", "img", "hr")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        given = {name: value or "" for name, value in attrs}
        self.texts += [given[name] for name in ("aria-label", "data-label") if name in given]
        if tag not in self.SINGLE:
            self.open.append((tag, given.get("class", "")))

    def handle_endtag(self, tag) -> None:
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data) -> None:
        hidden = ("script", "style", "code")
        if not any(tag in hidden or of == "example" for tag, of in self.open):
            self.texts.append(data)


def recorded(folder: Path) -> str:
    """Return all that the records of a sweep quote."""
    return "\n".join(path.read_text("utf-8") for path in folder.rglob("record.json"))


@pytest.fixture(scope="module")
def japanese(sweep_folder, tmp_path_factory) -> Path:
    return build_report(sweep_folder, tmp_path_factory.mktemp("reports"), language="ja")


def test_no_sentence_of_the_page_is_english(japanese, sweep_folder):
    page = Visible()
    page.feed((japanese / "index.html").read_text("utf-8"))
    quoted = recorded(sweep_folder)
    found = {m[0] for text in page.texts for m in ENGLISH.finditer(text)}
    assert len(page.texts) > 500
    assert {text for text in found if text not in quoted and text not in NAMES} == set()


def test_no_sentence_of_the_markdown_is_english(japanese, sweep_folder):
    text = re.sub(r"```.*?```", "", (japanese / "report.md").read_text("utf-8"), flags=re.DOTALL)
    found, quoted = set(ENGLISH.findall(text)), recorded(sweep_folder)
    assert {words for words in found if words not in quoted and words not in NAMES} == set()
    assert "## リーダーボード" in text


def test_the_same_numbers_in_either_language(japanese, report_folder):
    """Numbers, settings and labels are those of the English report; only words differ."""
    one, other = ((f / "report.json").read_text("utf-8") for f in (report_folder, japanese))
    english, translated = json.loads(one), json.loads(other)
    assert (english["language"], translated["language"]) == ("en", "ja")
    for key in ("comparisons", "quality", "forgetting", "trials", "sweep", "leaderboard"):
        assert translated[key] == english[key], key
    csv = [(folder / "leaderboard.csv").read_bytes() for folder in (report_folder, japanese)]
    assert csv[0] == csv[1]
    headlines = [found["recommendation"]["headline"] for found in (english, translated)]
    numbers = [re.findall(r"\d+(?:\.\d+)?(?:e-\d+)?", text) for text in headlines]
    assert numbers[0] == numbers[1] and "推奨" in headlines[1]
    assert report.read(japanese)._repr_markdown_().count("## ") == 2  # until 'Why'


def test_the_page_says_its_language_and_names_fonts(japanese, report_folder):
    page = (japanese / "index.html").read_text("utf-8")
    assert '<html lang="ja">' in page and "Noto Sans JP" in page and "Hiragino Sans" in page
    translations = re.search(r'id="sentences">(.*?)</script>', page)
    assert translations and json.loads(translations[1])["Copied"] == "コピーしました"
    english = (report_folder / "index.html").read_text("utf-8")
    assert '<html lang="en">' in english and 'id="sentences"' not in english
    assert not re.search(r"[\u3040-\u30ff]", english)


def test_the_command_and_the_configuration_choose_the_language(sweep_folder, tmp_path, capsys):
    configured = tmp_path / "runs" / "demo"
    configured.mkdir(parents=True)
    (configured / "trials").symlink_to(sweep_folder / "trials")
    settings = yaml.safe_load((sweep_folder / "sweep.yaml").read_text("utf-8"))
    settings |= {"report": {"language": "ja"}}
    (configured / "sweep.yaml").write_text(
        yaml.safe_dump(settings, sort_keys=False), encoding="utf-8"
    )
    places = [str(configured), f"reports_dir={tmp_path}"]
    assert report.main(places) == 0
    assert "使う前に確認すること" in capsys.readouterr().out
    assert report.main([*places, "language=fr"]) == 2
    assert "language='fr' cannot be used: it must be en or ja" in capsys.readouterr().err


def test_the_terminal_speaks_the_language_of_the_report(japanese):
    shown = Console(file=io.StringIO(), width=120, highlight=False)
    announce(japanese, shown)
    text = shown.file.getvalue()  # type: ignore[attr-defined]
    assert "設定" in text and "もう一度学習する" in text
    assert ENGLISH.findall(re.sub(r"python -m .*", "", text)) == []


def literals(node: ast.AST) -> Iterator[str]:
    """Yield the texts in code that no call hands to the catalogue and no error shows."""
    speakers = ("say", "phrase", "say_each", "counted", "InputError")
    if isinstance(node, ast.Raise):
        return
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in speakers:
        children: list[ast.AST] = list(node.keywords)
    elif isinstance(node, ast.JoinedStr):
        yield "".join(
            part.value if isinstance(part, ast.Constant) else "{}" for part in node.values
        )
        children = [part for part in node.values if isinstance(part, ast.FormattedValue)]
    else:
        children = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(
            node
        ):
            children = [child for child in children if child is not node.body[0]]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    for child in children:
        yield from literals(child)


def test_no_sentence_of_the_code_goes_past_the_catalogue():
    """What no report of a test happens to show: texts of three words or more, wherever they stand."""
    allowed = {
        "outside lower center",  # matplotlib's
        "outside right upper",
        "{} cannot be joined",  # the beginning of errors
        "MetaMathQA, tested on GSM8K",
        "answer:last number",
        "{} was just written",
        "the worst of",  # a signature
        "percent of answers",  # a unit of a record
        "biases and limitations",  # a key of a record
        "Noto Sans",  # fonts
    }
    found = {}
    for path in REPORTING.rglob("*.py"):
        for text in literals(ast.parse(path.read_text("utf-8"))):
            prose = re.search(r"[A-Za-z]{2,},? [A-Za-z]{2,},? [A-Za-z]{2,}", text)
            if prose and not any(part in text for part in allowed) and "<svg" not in text:
                found[text] = path.name
    assert found == {}
