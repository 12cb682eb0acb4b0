"""Facts of a card by hand, those of a report as far as a card asks for them, and a card as its readers see it."""

from __future__ import annotations

import copy
import re
from functools import cache
from html.parser import HTMLParser
from typing import Any

import yaml
from markdown_it import MarkdownIt

MESSAGES = {"list": [{"name": "role", "dtype": "string"}, {"name": "content", "dtype": "string"}]}
FEATURES = [{"name": "prompt"} | MESSAGES, {"name": "delta_tokens", "dtype": "float64"}]
RUNG_FEATURES = [{"name": "response", "dtype": "string"}, {"name": "score_judge", "dtype": "float64"}]


def stats(n: int, mean: float, positive: float, tied: float, **changes: Any) -> dict[str, Any]:
    """A measure's figures in the report; quantiles are the mean moved by their own number."""
    agreement = positive + tied / 2
    shares = {"share_positive": positive, "share_tied": tied, "agreement": agreement}
    quantiles = {q: mean + float(q) for q in ("0.05", "0.25", "0.5", "0.75", "0.95")}
    interval = {"agreement_ci95": [agreement - 0.05, agreement + 0.05]}
    return {"n": n, "mean": mean, "std": 1.5, "quantiles": quantiles} | shares | interval | changes


NO_STATS = dict.fromkeys(stats(0, 0, 0, 0)) | {"n": 0}
KEPT = {"judge": stats(40, 0.5, 0.6, 0.1), "tokens": stats(70, -3, 0.4, 0.2), "identity": stats(70, 0.1, 0.1, 0.9)}
TOLD: dict[str, Any] = {
    "control": "none",
    "pairs": 100,
    "prompts": 90,
    "measures": ["tokens", "identity", "judge"],
    "scorers": ["judge"],
    "lead": "judge",
    "length_measure": "tokens",
    "findings": [{"kind": "holds", "text": "judge agrees with the ladder in 65 %.", "level": "good"}],
    "pairings": [
        {
            "chosen": "strong",
            "rejected": "weak",
            "pairs": 100,
            "kept": 70,
            "measures": {name: stats(90, 2, 0.5, 0.25) for name in ("judge", "tokens", "identity")},
            "measures_kept": KEPT,
            "by_pool": {"own": {"kept": 70}},
        }
    ],
    "funnel": [
        {"rule": "not_empty", "dropped": 0}
        | {f"delta_{when}": {"judge": {"mean": 0.25, "agreement": 0.55}} for when in ("before", "after")},
        {"rule": "finished", "dropped": 30}
        | {
            "delta_before": {"judge": {"mean": 0.25, "agreement": 0.55}},
            "delta_after": {"judge": {"mean": 0.5, "agreement": 0.65}},
        },
    ],
    "ladder": [
        {
            "model": "strong",
            "cut_off": 0.18,
            "mean_tokens": 50.4,
            "mean_characters": 1234.5,
            "strength": {"judge": 0.3},
        },
        {"model": "weak", "cut_off": None, "mean_tokens": None, "mean_characters": 90.0, "strength": {"judge": -0.3}},
    ],
}
FACTS: dict[str, Any] = {
    "name": "tiny",
    "version": "9.8.7",
    "repo": "me/delta-pairs",
    "kept": 70,
    "pairs": 100,
    "splits": [
        {"config": "default", "split": "train", "rows": 60, "bytes": 600, "file_bytes": 60, "digest": "d1", "files": []}
        | {"content": "c1", "features": FEATURES},
        {"config": "default", "split": "test", "rows": 10, "bytes": 100, "file_bytes": 10, "digest": "d2", "files": []}
        | {"content": "c2", "features": FEATURES},
        {"config": "ladder", "split": "train", "rows": 210, "bytes": 900, "file_bytes": 90, "digest": "d3"}
        | {"content": "c3", "features": RUNG_FEATURES, "files": []},
    ],
    "languages": {"en": 0.9, "fr": 0.06, "de": 0.04},
    "plots": [{"path": "plots/deltas.png", "seen": "Histograms of judge."}],
    "columns": {
        "default": [
            {"name": "prompt", "kind": "list of {role, content}", "meaning": "the conversation", "delta": False},
            {"name": "delta_tokens", "kind": "float64", "meaning": "length in tokens", "delta": True},
        ],
        "ladder": [{"name": "response", "kind": "string", "meaning": "the answer", "delta": False}],
    },
    "test_share": 0.125,
    "licence": {
        "parts": [
            {
                "where": "responses/strong",
                "role": "generator",
                "name": "org/Model_1-3B",
                "licence": "some-research",
                "kind": "non-commercial",
                "because": "known of org/Model_1-3B",
                "notices": ("Built with Model",),
                "conditions": ("Say who made it.",),
                "link": "https://example.com/licence",
                "stops": True,
                "accepted": "for study alone",
            },
            {
                "where": "prompts/own",
                "role": "source",
                "name": "pool.jsonl",
                "licence": None,
                "kind": "unknown",
                "because": "not known",
                "notices": (),
                "conditions": (),
                "link": None,
                "stops": True,
                "accepted": "",
            },
        ],
        "stated": "cc-by-4.0",
        "proposed": "some-research",
        "header": {"license": "cc-by-4.0"},
        "notices": ["Built with Model"],
    },
    "rungs": [
        {
            "name": "strong",
            "model": "org/Model_1-3B",
            "link": "https://huggingface.co/org/Model_1-3B",
            "revision": "abc123",
            "params": 3_000_000,
            "engine": "vllm 0.30",
            "sampling": "temperature 0.0, max_tokens 256, samples 1",
            "template": "template 1234, no system turn",
            "rows": 1100,
            "errors": 1,
            "tokens": 55_000,
            "mean_tokens": 50.4,
            "mean_characters": 1234.5,
            "cut_off": 20,
            "share_cut_off": 0.18,
            "license": "some-research",
        }
    ],
    "control": "none",
    "by": None,
    "scorers": [
        {
            "name": "judge",
            "source": "a judge's ratings from 1 to 10 on honesty",
            "graded": 9,
            "of": 21,
            "means": {"strong": 0.123456},
            "model": {
                "model": "org/Judge_7B",
                "link": "https://huggingface.co/org/Judge_7B",
                "revision": "def456",
                "engine": "vllm 0.31",
                "license": "mit",
            },
            "said": ["2 judgements have no verdict: refused 2.", "It read 12 tokens and wrote 3."],
        }
    ],
    "lead": ["judge", "tokens"],
    "pairings": [
        {
            "chosen": "strong",
            "rejected": "weak",
            "pairs": 100,
            "kept": 70,
            "delta": {"judge": 0.125, "tokens": -3.25},
            "delta_kept": {"judge": 0.0, "tokens": None},
        }
    ],
    "without_pair": 4,
    "without_pair_since": "a rung has no answer to them",
    "funnel": {"not_empty": 0, "finished": 30},
    "pools": [
        {
            "name": "own",
            "path": "pool.jsonl",
            "license": "not known",
            "read": 1400,
            "bad": 1,
            "asked": None,
            "dropped": {"duplicate": 2, "contaminated": 1},
            "taken": 100,
            "kept": 70,
        }
    ],
    "sources": ["owner/prompts"],
    "also": None,
    "soft_label": [],
    "judged": True,
    "ngram": 8,
    "contamination": {
        "at_least": 0.5,
        "prompts": 13,
        "packs": {"gsm": {"items": 90, "prompts": 1, "share": 0.0769, "items_hit": 2, "items_share": 0.022}},
        "table": {"own": {"gsm": {"prompts": 1, "items": 2}}},
    },
    "told": TOLD,
    "magnitudes": {
        over: {name: [{"chosen": "strong", "rejected": "weak"} | TOLD["pairings"][0][key][name]]}
        for over, key, name in (("kept", "measures_kept", "judge"), ("all", "measures", "judge"))
    },
    "others": ["identity"],
    "extras": "vllm,report",
    "digest": "0123456789abcdef",
    "year": "2026",
    "limits": [
        {"what": "Length", "text": "Chosen is longer in 40 %.", "level": "warn"},
        {"what": "Gain", "text": "Not promised.", "level": "note"},
    ],
}
HOSTILE = [
    "a | b | c",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</details></table><h1>taken</h1>",
    "<!-- gone",
    "`code` ```",
    "line\n\n# Heading\n---\nlicense: mit",
    "\r\n| x | y |\u2028| z |",
    "{{ 7 * 7 }}{{7*7}}{% for x in y %}{# gone #}",
    "[click](javascript:alert(1)) ![x](http://example.com/x.png)",
    "[ref]: http://example.com 'x'",
    "](http://example.com) ![",
    "*bold* **bolder** ~~out~~ _under_",
    "\\| already escaped",
    "- {pretty_name: &a [*a, !!python/object]}: '\"",
    "1. item",
    "../../../etc/passwd",
    "&lt;script&gt; &amp;",
    "who@example.com @someone :smile: $x$",
]
PLACES = [
    ("rungs", "name"),
    ("rungs", "model"),
    ("rungs", "revision"),
    ("rungs", "engine"),
    ("rungs", "sampling"),
    ("rungs", "template"),
    ("rungs", "license"),
    ("scorers", "name"),
    ("scorers", "source"),
    ("pairings", "chosen"),
    ("pairings", "rejected"),
    ("pools", "name"),
    ("pools", "path"),
    ("pools", "license"),
    ("plots", "seen"),
    ("limits", "text"),
    ("told.findings", "text"),
    ("told.pairings", "chosen"),
    ("licence.parts", "where"),
    ("licence.parts", "name"),
    ("licence.parts", "licence"),
    ("licence.parts", "because"),
    ("licence.parts", "accepted"),
]


def facts(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(FACTS) | changes


def told(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(TOLD) | changes


def with_first(table: str, **changes: Any) -> dict[str, Any]:
    """The facts with changes in the first row of one of their tables; `a.b` is the table b of the fact a."""
    changed = facts()
    place = changed
    for key in table.split("."):
        place = place[key]
    place[0] |= changes  # type: ignore[index]
    return changed


@cache
def header_of(text: str) -> Any:
    """What stands between the first two `---` lines."""
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)[1])  # type: ignore[index]


def body_of(text: str) -> str:
    return re.sub(r"\A---\n.*?\n---\n", "", text, count=1, flags=re.DOTALL)


@cache
def table_rows(text: str) -> list[list[str]]:
    """The cells of every table row as they read (`\\_` is an underscore), split at the bars that are not escaped."""
    lines = [line for line in body_of(text).splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    return [[re.sub(r"\\(.)", r"\1", cell.strip()).replace("\xa0", " ") for cell in row] for row in cells]


@cache
def tags(text: str) -> list[tuple[str, list[str]]]:
    """Every element of the page that the card becomes: its name and the names of its attributes."""
    found: list[tuple[str, list[str]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, sorted(name for name, _ in attrs)))

    Reader().feed(html_of(text))
    return found


@cache
def html_of(text: str) -> str:
    """As the Hub reads it: CommonMark with tables, strike-through and HTML."""
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return str(reader.render(body_of(text)))


@cache
def words_of(text: str) -> str:
    """What a reader of the page reads, white space being one space."""
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            found.append(data)

    Reader().feed(html_of(text))
    return " ".join("".join(found).split())
