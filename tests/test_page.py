"""The page says what the report says, asks for nothing, and nothing that a model wrote can do anything in it.

pytest tests/test_page.py       (the tests in a browser need Chromium and are skipped without it)
"""

from __future__ import annotations

import copy
import html
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, Browser
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from report_facts import example, made

from deltadata import page, pictures

in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
HOSTILE = [
    "<script>document.title = 'taken'; alert(1)</script>",
    "<img src=x onerror=\"document.title='taken'\"><svg onload=alert(1)>",
    "</div></article></section></main><h1>taken</h1><iframe src='https://example.com'></iframe>",
    "<style>body { display: none }</style><link rel=stylesheet href=https://example.com/a.css>",
    "<a href=\"javascript:document.title='taken'\" id=taken>[x](javascript:alert(1))</a>",
    "<meta http-equiv=refresh content='0; url=https://example.com'><base href=https://example.com>",
    "\" autofocus onfocus=alert(1) x=\"' onclick='alert(1)' `",
    "{{ 7 * 191 }}{% for x in y %}{# gone #}&lt;b&gt; <!-- gone --> ]]>",
    "\u202egnirts\u202c \u2066isolated\u2069 \x00\x07\x1b[31m\x7f\x9b \ud800 \ufeff\u200b\U000e0041 \r\nnext",
    "w" * 100_000,
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, str]]:
    report, pairs, ladder = made()
    return report, pictures.draw(report, pairs, ladder, tmp_path_factory.mktemp("plots"))


def write(folder: Path, text: str) -> Path:
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def seen(text: str) -> str:
    """The page's words without its markup."""
    bare = re.sub(r"<style>.*?</style>|<[^>]+>", " ", text, flags=re.DOTALL)
    return " ".join(html.unescape(bare).split())


def test_every_finding_pairing_measure_and_picture_is_there(drawn: tuple[dict[str, Any], dict[str, str]]) -> None:
    """With levels in words, counts as people write them, and a caption for every picture."""
    report, svgs = drawn
    text = page.render(report, svgs, [])
    words = seen(text)
    for finding in report["findings"]:
        assert finding["text"] in words
    assert "✓ good" in words and "▲ warning" in words and "• note" in words
    for pairing in report["pairings"]:
        assert f"{pairing['chosen']} over {pairing['rejected']} 400 pairs, {pairing['kept']} kept" in words
    for measure in report["measures"]:
        rows = 2 * len(report["pairings"]) + 1 + (measure in report["scored_by"])
        assert len(re.findall(rf'<th scope="row">{measure}</th>', text)) == rows
    left = 1200
    for rule in report["funnel"]:
        left -= rule["dropped"]
        assert f"{rule['rule']} {rule['dropped']} {left:,} " in words
    for svg in svgs.values():
        assert svg in text
    assert text.count("<figcaption>") == 6
    assert words.startswith(
        "made-up: delta report Skip to the findings made-up 1,200 pairs 1,051 kept 400 prompts 3 pairings"
    )


def test_the_figures_of_a_row_stand_in_their_columns(drawn: tuple[dict[str, Any], dict[str, str]]) -> None:
    """n, mean, agreement with its interval, positive, tied, sd, five quantiles."""
    report = copy.deepcopy(drawn[0])
    report["pairings"] = report["pairings"][:1]
    quantiles = {"0.05": -1234.4, "0.25": -3.21, "0.5": 0.0, "0.75": 0.052, "0.95": 1e6}
    shares = {"share_positive": 0.625, "share_tied": 0.004, "agreement": 0.627, "agreement_ci95": [0.57, 0.684]}
    stats = {"n": 12345, "mean": -0.2149, "std": 2.0, "quantiles": quantiles} | shares
    report["pairings"][0]["measures"]["gpt4"] = stats
    row = "gpt4 12,345 −0.21 63 % 57–68 % 62 % <1 % 2 −1,234 −3.21 0 +0.052 +1,000,000"
    assert row in seen(page.render(report, {}, []))


def test_what_is_unknown_is_a_dash(drawn: tuple[dict[str, Any], dict[str, str]]) -> None:
    """Null figures of every kind are dashes or left out, never None or nan."""
    report = copy.deepcopy(drawn[0])
    pairing = report["pairings"][0]
    none = dict.fromkeys(pairing["measures"]["checks"]) | {"n": 0}
    for measures in (pairing["measures"], pairing["measures_kept"]):
        measures |= {"checks": none, "gpt4": none}
    pairing |= {"similarity": None, "length_bias": None}
    report["pairings"][1]["length_bias"] |= {
        "matched": {"pairs": 0, "agreement": None, "agreement_ci95": None, "within": 0.0},
        "controlled": {"agreement": None, "coefficient": None},
    }
    report["ladder"][0] |= {"cut_off": None, "mean_tokens": None, "strength": dict.fromkeys(["checks", "gpt4"])}
    report["ladder"][0]["strength_ci95"] = dict.fromkeys(["checks", "gpt4"])
    report["correlations"]["spearman"][0][1] = None
    report |= {"saturation": None, "slices": []}
    words = seen(page.render(report, {}, []))
    assert "checks 0 – – – – – – – – – –" in words
    assert not re.search(r"\bNone\b|\bnan\b|\binf\b", words)


def test_an_empty_run_has_a_page() -> None:
    """No pairs, no findings, no examples: each is said."""
    report, _, _ = made(models=2)
    gone = {"pairs": 0, "kept": 0, "prompts": 0, "findings": [], "pairings": [], "funnel": [], "ladder": []}
    gone |= {"slices": [], "correlations": {"measures": [], "spearman": []}, "saturation": None}
    words = seen(page.render(report | gone, {}, []))
    for said in ("Nothing stands out.", "There are no pairs.", "No examples.", "0 pairs"):
        assert said in words


def test_left_out_pictures_are_said() -> None:
    """Without a scorer the page tells why there are four pictures, and how to get six."""
    report, _, _ = made(models=2, scorers=())
    assert "No scorer: there is no ladder of strengths and no map of quality" in seen(page.render(report, {}, []))
    assert "No scorer" not in seen(page.render(made(models=2)[0], {}, []))


@pytest.mark.parametrize(
    "key", ["name", "findings", "pairings", "funnel", "ladder", "correlations", "seed", "lead", "scored_by"]
)
def test_a_figure_that_is_missing_is_an_error(key: str) -> None:
    """No page is written around a hole."""
    report, _, _ = made(models=2)
    del report[key]
    with pytest.raises((UndefinedError, KeyError), match=key):
        page.render(report, {}, [])


def test_scorers_that_are_models_have_a_section() -> None:
    """What each is, its model and engine, how much it scored, and what is said of it; without one no section."""
    words = seen(page.render(made(models=2)[0], {}, []))
    row = "gpt4 a judge's comparisons in both orders on honesty org/judge-7b vllm 1,188 1,200"
    assert f"{row} gpt4 12 judgements have no verdict: refused 12. It read 1,234 tokens and wrote 56." in words
    report = made(models=2)[0]
    report["scored_by"]["gpt4"] |= {"model": None, "engine": None, "responses": None}
    assert "both orders on honesty – – 1,188 – gpt4" in seen(page.render(report, {}, []))
    bare = page.render(made(models=2, scorers=("checks",))[0], {}, [])
    assert "h-scorers" not in bare and "#scorers" not in bare


def test_a_control_is_announced() -> None:
    """Before its figures are read as a result."""
    report, _, _ = made(models=2)
    assert "A control (reversed)" in seen(page.render(report | {"control": "reversed"}, {}, []))
    assert "control" not in seen(page.render(report, {}, []))


def test_examples_stand_on_their_pairings_shelves() -> None:
    """By pairing in the order given, largest before median before negative, with deltas, pool and the rule."""
    shelf = [
        example(which="negative", dropped_by="min_delta", prompt_id="n"),
        example(which="largest", prompt_id="l"),
        example(rejected_model="rung-2-it", which="median", prompt_id="m"),
    ]
    words = seen(page.render(made(models=3)[0], {}, shelf)).partition(" Examples rung-0")[2]
    order = ["rung-1-it largest delta (1)", "prompt l", "negative delta (1)", "prompt n", "rung-2-it median delta (1)"]
    assert [words.index(part) for part in order] == sorted(words.index(part) for part in order)
    assert "prompt l pool pool-0 kept checks +0.50 tokens −7 gpt4 – user Name a colour." in words
    assert "dropped by min_delta" in words
    assert "chosen · rung-0-it Blue. rejected · rung-1-it I would say: a colour" in words


def test_all_turns_are_shown() -> None:
    """Roles of a conversation and of a response of several messages stand above their texts."""
    turns = [{"role": role, "content": role.upper()} for role in ("system", "user", "assistant", "user")]
    words = seen(page.render(made(models=2)[0], {}, [example(prompt=turns)]))
    assert "system SYSTEM user USER assistant ASSISTANT user USER chosen ·" in words


def test_a_long_text_is_cut_and_says_so() -> None:
    """At 20,000 characters; nothing is cut at that very length."""
    assert page.shown("a" * 20_000) == "a" * 20_000
    assert seen(page.shown("a" * 21_234)) == "a" * 20_000 + " … 1,234 more characters"


@given(st.text())
def test_shown_text_is_inert_and_whole(text: str) -> None:
    """Any text: no tag but our marks, nothing hidden left, and the original is read back from it."""
    marked = page.shown(text)
    bare = re.sub(r'<span class="hidden">((?:‹U\+[0-9A-F]{4,6}›)+)</span>', lambda m: f"\0{m[1]}\0", marked)
    assert not re.search(r"[<>\"']", bare)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x7f\ud800-\udfff\r]", bare)
    parts = [html_text(part) if i % 2 == 0 else unmarked(part) for i, part in enumerate(bare.split("\0"))]
    assert "".join(parts) == text


def unmarked(marks: str) -> str:
    return "".join(chr(int(code, 16)) for code in re.findall("[0-9A-F]{4,6}", marks))


def html_text(escaped: str) -> str:
    for name, character in (("&lt;", "<"), ("&gt;", ">"), ("&#34;", '"'), ("&#39;", "'"), ("&amp;", "&")):
        escaped = escaped.replace(name, character)
    return escaped


def test_marks_stand_for_what_an_eye_would_miss() -> None:
    """Direction overrides, controls, zero widths and lone surrogates; tabs, newlines, joiners and letters are left."""
    assert seen(page.shown("a\u202eb\x00c\u200bd\ud800")) == "a ‹U+202E› b ‹U+0000› c ‹U+200B› d ‹U+D800›"
    for kept in ("a\tb\n", "👩\u200d🔬", "مرحبا", "é\u0301", "\xa0"):
        assert page.shown(kept) == kept


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        (0.0, "0"),
        (-0.0, "0"),
        (0.2149, "0.21"),
        (-0.2149, "−0.21"),
        (0.0123, "0.012"),
        (1.0, "1"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (-1234.4, "−1,234"),
        (1.24e-9, "1.2e−9"),
        (1e-4, "0.00010"),
        (-2e15, "−2.0e15"),
    ],
)
def test_numbers_are_written_for_people(value: float | None, expected: str) -> None:
    """Two or three digits that matter, a true minus sign, a dash for null; a sign only on differences."""
    assert page.number(value) == expected
    assert page.signed(value) == (f"+{expected}" if value and value > 0 else expected)


@pytest.mark.parametrize(
    ("share", "expected"),
    [(None, "–"), (0.0, "0 %"), (0.001, "<1 %"), (0.624, "62 %"), (0.997, ">99 %"), (1.0, "100 %")],
)
def test_shares_are_percents(share: float | None, expected: str) -> None:
    """None is not nearly none, and the sign never starts a line."""
    assert page.percent(share) == expected.replace(" ", "\xa0")


def test_nothing_is_asked_of_another_place(drawn: tuple[dict[str, Any], dict[str, str]]) -> None:
    """No script, no address but names of XML, and a policy that would forbid them."""
    text = page.render(*drawn, [example()])
    assert "<script" not in text
    assert set(re.findall(r"https?://[^\"' )]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy and "default-src 'none'" in policy[1] and "script-src" not in policy[1]
    assert text.index("Content-Security-Policy") < text.index("<style")


@in_browser
@pytest.mark.parametrize("policy", [True, False], ids=["as written", "policy removed"])
def test_hostile_texts_are_inert_in_a_browser(
    policy: bool, browser: Browser, drawn: tuple[dict[str, Any], dict[str, str]], tmp_path: Path
) -> None:
    """In every place a text can come from: nothing runs, nothing is asked for, no element appears, the words are read.

    Escaping alone must hold, so the same is true without the page's policy.
    """
    report, svgs = copy.deepcopy(drawn[0]), drawn[1]
    said = [{"role": "user", "content": text} for text in HOSTILE]
    bad = HOSTILE[0] + HOSTILE[1] + HOSTILE[4] + HOSTILE[6]
    report |= {"name": bad, "control": bad}
    report["findings"].append({"kind": bad, "text": bad, "level": "warn"})
    scorer = report["scored_by"]["gpt4"] | {"what": bad, "model": bad, "engine": bad, "dtype": bad, "said": [bad]}
    report["scored_by"] = {bad: scorer}
    report["slices"][0] |= {"slice": bad, "by": bad, "chosen": bad}
    report["ladder"][0]["model"] = report["funnel"][0]["rule"] = report["pairings"][0]["chosen"] = bad
    report["pairings"][0]["by_pool"][bad] = report["pairings"][0]["by_pool"].pop("pool-0")
    names = {"prompt_id": bad, "pool": bad, "dropped_by": bad, "chosen_model": bad, "rejected_model": bad}
    text = page.render(report, svgs, [example(prompt=said, chosen=said, rejected=said, **names)])
    if not policy:
        text = re.sub(r"<meta http-equiv.*?>", "", text, count=1)
    browser.visit(write(tmp_path, text))
    browser.evaluate("new Promise(done => setTimeout(done, 200))")
    assert browser.evaluate("document.title").startswith("<script>")
    assert browser.complaints() == []
    assert browser.requests() == [(tmp_path / "report.html").as_uri()]
    elements = (
        "document.querySelectorAll('script, img, iframe, base, style + style, #taken, [onerror], [onfocus]').length"
    )
    assert browser.evaluate(elements) == 0
    assert browser.evaluate("document.querySelectorAll('h1').length") == 1
    read = browser.evaluate("[...document.querySelectorAll('.text')].map(box => box.textContent)")
    for hostile in HOSTILE[:8]:
        assert read.count(hostile) == 3
    wide = "[...document.querySelectorAll('.text')].filter(box => box.scrollWidth > box.clientWidth).length"
    assert browser.evaluate(wide) == 0
    assert browser.evaluate(SIDEWAYS) == 0


@in_browser
def test_the_page_is_quiet_and_readable(
    browser: Browser, drawn: tuple[dict[str, Any], dict[str, str]], tmp_path: Path
) -> None:
    """Desktop and phone: no message in the console, one request, six pictures of real size, no sideways scrolling."""
    path = write(tmp_path, page.render(*drawn, [example()]))
    for width in (1200, 412):
        browser.visit(path, width)
        assert browser.complaints() == []
        assert browser.requests() == [path.as_uri()]
        assert browser.evaluate(SIDEWAYS) == 0
        sizes = browser.evaluate("[...document.querySelectorAll('figure > svg')].map(svg => svg.clientWidth)")
        assert len(sizes) == 6 and min(sizes) > 360
        sides = browser.evaluate("[...document.querySelectorAll('.sides > div')].map(side => side.offsetTop)")
        assert (sides[0] == sides[1]) == (width > 412)
    levels = browser.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1 and all(after - before <= 1 for before, after in pairwise(levels))


@in_browser
def test_dark_is_dark_and_legible(
    browser: Browser, drawn: tuple[dict[str, Any], dict[str, str]], tmp_path: Path
) -> None:
    """Colours follow the reader's scheme, in the pictures too, and text keeps a contrast of 4.5 in both."""
    path = write(tmp_path, page.render(*drawn, [example()]))
    papers, inks = [], []
    for dark in (False, True):
        browser.visit(path, dark=dark)
        papers.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
        inks.append(browser.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill"))
        for role in ("ink", "muted", "positive", "negative", "amber"):
            for ground in ("paper", "raised"):
                assert contrast(colour(browser, role), colour(browser, ground)) >= 4.5, (dark, role, ground)
    assert papers == ["rgb(255, 255, 255)", "rgb(20, 24, 29)"]
    assert inks == ["rgb(28, 33, 40)", "rgb(230, 234, 238)"]


def colour(browser: Browser, role: str) -> list[float]:
    value = browser.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{role}')").lstrip("#")
    value = value if len(value) == 6 else "".join(2 * digit for digit in value)
    return [int(value[place : place + 2], 16) / 255 for place in (0, 2, 4)]


def contrast(one: list[float], other: list[float]) -> float:
    """The ratio of WCAG 2."""

    def luminance(rgb: list[float]) -> float:
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@in_browser
def test_tabs_need_no_script(browser: Browser, drawn: tuple[dict[str, Any], dict[str, str]], tmp_path: Path) -> None:
    """One kind of examples is seen at a time, the one whose tab is chosen."""
    shelf = [example(which=which, pool=which) for which in page.KINDS]
    browser.visit(write(tmp_path, page.render(drawn[0], {}, shelf)))
    shown = "[...document.querySelectorAll('.panel')].map(panel => panel.offsetHeight > 0)"
    assert browser.evaluate(shown) == [True, False, False]
    browser.evaluate("document.querySelectorAll('.tabs > label')[2].click()")
    assert browser.evaluate(shown) == [False, False, True]


@in_browser
def test_many_pairings_make_a_whole_page(browser: Browser, tmp_path: Path) -> None:
    """Thirty-six pairings over forty pools: all are there, the first three open, on a phone, too."""
    report, pairs, ladder = made(models=9, pools=40, prompts=80)
    svgs = pictures.draw(report, pairs, ladder, tmp_path)
    path = write(tmp_path, page.render(report, svgs, [example(rejected_model=f"r{n}") for n in range(36)]))
    browser.visit(path, 412)
    assert browser.evaluate("document.querySelectorAll('#pairings > details').length") == 36
    assert browser.evaluate("document.querySelectorAll('#pairings > details[open]').length") == 3
    assert browser.evaluate("document.querySelectorAll('#pairings details details tbody tr').length") == 36 * (
        4 + 40 + 2
    )
    assert browser.evaluate("document.querySelectorAll('article').length") == 36
    assert browser.evaluate(SIDEWAYS) == 0
    assert browser.complaints() == []
    assert path.stat().st_size < 2_500_000
