"""The card as a page of the Hub: Markdown to HTML with its pictures beside it, opened in a headless Chromium.

pytest tests/test_card_page.py      (needs Chromium, and is skipped without it)
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from card_facts import HOSTILE, PLACES, body_of, facts, html_of, with_first
from ladder import do, small_run, write_sources

from deltadata import card
from deltadata.templates import folder

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
EXAMPLE = folder() / "example"
WIDTH = 1000
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# What a Hub page does with a card's elements: pictures fit, tables scroll by themselves.
STYLE = """
body { margin: 0; font: 16px/1.6 system-ui, sans-serif; color: #1f2937; background: #fff }
main { max-width: 860px; margin: 0 auto; padding: 16px 24px }
img { max-width: 100%; height: auto }
table { display: block; overflow-x: auto; border-collapse: collapse; font-size: 14px; margin: 16px 0 }
th, td { border: 1px solid #e5e7eb; padding: 4px 10px }
pre { background: #f3f4f6; padding: 12px; font-size: 13px }
blockquote { margin: 0; padding-left: 12px; border-left: 4px solid #e5e7eb }
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset folder of a small run with three pairings, an imported rung and pictures."""
    place = tmp_path_factory.mktemp("small")
    write_sources(place)
    do(place / "run", small_run())
    return place / "run" / "dataset"


def page_of(text: str, place: Path) -> Path:
    """A page of this card in the folder `place`."""
    path = place / "page.html"
    head = f"<!doctype html><meta charset=utf-8><title>card</title><style>{STYLE}</style>"
    path.write_text(f"{head}<main>{html_of(text)}</main>", encoding="utf-8")
    return path


def visit(browser: Browser, source: Path, place: Path) -> str:
    """Open the card of a folder as a page, all that folds unfolded; returns the card."""
    text = (source / "README.md").read_text(encoding="utf-8")
    if (source / "plots").exists():
        shutil.copytree(source / "plots", place / "plots")
    browser.visit(page_of(text, place), WIDTH)
    browser.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    return text


@pytest.mark.parametrize("which", ["small run", "example"])
def test_the_card_is_a_page(which: str, browser: Browser, made: Path, tmp_path: Path) -> None:
    """Tables are tables, pictures load, nothing runs or is asked of elsewhere, nothing but tables scrolls."""
    if which == "example" and not EXAMPLE.exists():
        pytest.skip("cards/example is not there")
    source = EXAMPLE if which == "example" else made
    text = visit(browser, source, tmp_path)
    tables = sum(line.startswith("|--") for line in body_of(text).splitlines())
    assert tables > 10 and browser.evaluate("document.querySelectorAll('table').length") == tables
    widths = (
        "[...document.querySelectorAll('table')].map(one => new Set([...one.rows].map(row => row.cells.length)).size)"
    )
    assert set(browser.evaluate(widths)) == {1}
    assert "|" not in browser.evaluate("[...document.querySelectorAll('p, li')].map(p => p.textContent).join(' ')")
    pictures = sorted(path.name for path in (source / "plots").glob("*.png"))
    assert pictures
    shown = browser.evaluate(
        "[...document.images].map(one => [one.src.split('/').pop(), one.naturalWidth > 0, one.alt.length > 40])"
    )
    assert sorted(shown) == [[name, True, True] for name in pictures]
    assert browser.evaluate(SIDEWAYS) <= 0
    blocks = "[...document.querySelectorAll('main, p, ul, pre, img, h1, h2, h3')]"
    assert browser.evaluate(f"{blocks}.filter(one => one.scrollWidth > one.clientWidth + 1).length") == 0
    assert browser.evaluate("document.scripts.length") == 0
    assert browser.complaints() == []
    asked = {(tmp_path / "page.html").as_uri(), *((tmp_path / "plots" / name).as_uri() for name in pictures)}
    assert set(browser.requests()) == asked
    words = browser.evaluate("document.body.textContent")
    assert "{{" not in words and "{%" not in words and "\\" not in words


def test_the_first_screens_tell_what_matters(browser: Browser, made: Path, tmp_path: Path) -> None:
    """What the pairs are, how large the delta is, what to beware of: before anything else, within two screens."""
    visit(browser, made, tmp_path)
    heads = browser.evaluate("[...document.querySelectorAll('h1, h2')].map(one => one.textContent)")
    assert heads[:3] == ["small", "At a glance", "Quick start"]
    end = browser.evaluate("document.querySelectorAll('h2')[1].getBoundingClientRect().top + scrollY")
    assert end < 2 * 900
    levels = browser.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(one => Number(one.tagName[1]))")
    assert levels.count(1) == 1 and all(after - before <= 1 for before, after in pairwise(levels))


def test_hostile_texts_are_inert_in_a_browser(browser: Browser, tmp_path: Path) -> None:
    """In every place a text can come from, all at once: nothing runs, no element appears, the words are read."""
    plots = card.folder() / "alpaca_eval" / "agreement.png"
    (tmp_path / "plots").mkdir()
    shutil.copy(plots, tmp_path / "plots" / "deltas.png")
    names = ["script", "img", "h1", "h2", "a", "table", "td", "li", "iframe", "code", "em", "strong", "s"]
    counts = f"{names}.map(name => document.querySelectorAll(name).length)"
    browser.visit(page_of(card.render(facts()), tmp_path), WIDTH)
    plain = browser.evaluate(counts)
    for text in HOSTILE:
        changed = facts()
        for table, field in PLACES:
            hostile = with_first(table, **{field: text})
            place, ours = changed, hostile
            for key in table.split("."):
                place, ours = place[key], ours[key]
            place[0][field] = ours[0][field]  # type: ignore[index]
        browser.visit(page_of(card.render(changed), tmp_path), WIDTH)
        browser.evaluate("new Promise(done => setTimeout(done, 20))")
        assert browser.evaluate("document.title") == "card"
        assert browser.complaints() == []
        assert browser.evaluate(counts) == plain, text
        assert set(browser.requests()) == {
            (tmp_path / "page.html").as_uri(),
            (tmp_path / "plots" / "deltas.png").as_uri(),
        }
        read = browser.evaluate("document.body.textContent.replace(/\\s+/g, ' ')")
        assert read.count(" ".join(text.split())) >= len(PLACES) - 2
