"""The report as one page: figures, pictures and examples in a single file that asks for nothing else.

No script, no font, no image from elsewhere, and a policy in the page forbids them. `deltadata report RUN` writes it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from deltadata.kinds import picked, sides
from deltadata.tables import CHOSEN, CONTENT, MODEL, PREFERENCE_TYPE, REJECTED, of
from deltadata.templates import folder

LONGEST = 20_000  # characters of a text that the page shows
NOTHING = "–"
KINDS = {"largest": "largest delta", "median": "median delta", "negative": "negative delta"}
MARKS = {"good": ("✓", "good"), "warn": ("▲", "warning"), "note": ("•", "note")}
CAPTIONS = {
    "deltas": "Each pair’s delta, by pairing: how the lead measure and the length differ between the two sides.",
    "ladder": "How strong each rung is by its scores: Bradley–Terry strengths over the same prompts.",
    "quality": "Whether the difference depends on how good chosen is. At a scorer’s ceiling little room is left.",
    "length": "Whether the lead measure follows length. A level line: it does not.",
    "funnel": "What each rule of the filter costs, and what it does to the signal.",
    "agreement": "How often the lead measure finds chosen the better one, by pairing and pool.",
}
# Controls but tab and newline, line separators, zero widths, direction marks and overrides, tags, lone surrogates.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def render(report: Mapping[str, Any], svgs: Mapping[str, str], examples: list[dict[str, Any]]) -> str:
    """The page's HTML from a report (the contract of report.json), `pictures.draw`'s SVG texts and example pairs.

    An example holds which (largest, median or negative), chosen_model, rejected_model, prompt_id, pool, prompt, chosen
    and rejected as messages, deltas by measure, dropped_by. Everything but the SVG texts is escaped. Raises
    jinja2.UndefinedError or KeyError where a figure is missing.
    """
    environment = Environment(
        loader=FileSystemLoader(folder()),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": count,
        "percent": percent,
        "number": number,
        "signed": signed,
        "interval": interval,
        "exact": exact,
        "correlation": correlation,
        "shown": shown,
        "plain": plain,
        "sides": sides,
        "picked": picked,
    }
    return environment.get_template("report.html.jinja").render(
        r=report,
        svgs={name: Markup(svg) for name, svg in svgs.items()},
        shelves=_shelves(examples),
        left=_left(report),
        kinds=KINDS,
        marks=MARKS,
        captions=CAPTIONS,
        content=CONTENT,
    )


def _shelves(examples: list[dict[str, Any]]) -> list[tuple[str, dict[str, list[dict[str, Any]]]]]:
    """Examples as (name of the pairing, which -> examples), in the order in which they came."""
    shelves: dict[tuple[str, ...], dict[str, list[dict[str, Any]]]] = {}
    for example in examples:
        pairing = (example[of(CHOSEN, MODEL)], example[of(REJECTED, MODEL)], example.get(PREFERENCE_TYPE, ""))
        shelves.setdefault(pairing, {}).setdefault(example["which"], []).append(example)
    return [
        (_called(*pairing), {which: shelf[which] for which in KINDS if which in shelf})
        for pairing, shelf in shelves.items()
    ]


def _called(chosen: str, rejected: str, kind: str) -> str:
    return sides({CHOSEN: chosen, REJECTED: rejected} | ({PREFERENCE_TYPE: kind} if kind else {}))


def _left(report: Mapping[str, Any]) -> list[int]:
    """Pairs left after each rule of the funnel."""
    left: list[int] = []
    for rule in report["funnel"]:
        left.append((left[-1] if left else report["pairs"]) - rule["dropped"])
    return left


def shown(text: str) -> Markup:
    """Text as it is, with marks for what an eye would miss or be misled by, cut where it is very long."""
    missing = len(text) - LONGEST
    marked = Markup("").join(
        Markup('<span class="hidden">{}</span>').format(plain("".join(run))) if hidden else escape("".join(run))
        for hidden, run in groupby(text[:LONGEST], lambda character: bool(_HIDDEN.match(character)))
    )
    if missing <= 0:
        return marked
    return marked + Markup('<span class="cut">… {} more characters</span>').format(count(missing))


def plain(text: Any) -> str:
    """One line for a name or a label: hidden characters are written out."""
    return _HIDDEN.sub(lambda match: f"‹U+{ord(match[0]):04X}›", str(text))


def count(value: float | None) -> str:
    """1,234, or a dash for null."""
    return NOTHING if value is None else f"{value:,.0f}"


def percent(share: float | None) -> str:
    """62 % with a space that does not break; nearly none or all is not rounded to none or all."""
    if share is None:
        return NOTHING
    if 0 < share < 0.005:
        return "<1\N{NO-BREAK SPACE}%"
    return ">99\N{NO-BREAK SPACE}%" if 0.995 < share < 1 else f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def number(value: float | None) -> str:
    """Two or three digits that matter: 1,234, 12.3, 1.23, 0.21, 0.0012, 1.2e−5; whole numbers whole."""
    if value is None:
        return NOTHING
    size = abs(value)
    if size >= 1e15 or 0 < size < 1e-4:
        mantissa, _, power = f"{value:.1e}".partition("e")
        return f"{mantissa}e{int(power)}".replace("-", "−")
    value += 0.0  # no minus zero
    digits = 1 if size >= 10 else 2 if size >= 0.1 else 1 - math.floor(math.log10(size or 1))
    return f"{value:,.{0 if size >= 100 or value == int(value) else digits}f}".replace("-", "−")


def signed(value: float | None) -> str:
    """A difference: the number with its sign, +0.21 or −0.21; zero has none."""
    return f"+{number(value)}" if value is not None and value > 0 else number(value)


def interval(shares: list[float] | None) -> str:
    """57–68 %, or nothing for null."""
    return "" if shares is None else f"{100 * shares[0]:.0f}–{100 * shares[1]:.0f}\N{NO-BREAK SPACE}%"


def exact(value: float) -> str:
    """A score as it is, to six digits."""
    return f"{value:.6g}".replace("-", "−")


def correlation(value: float | None) -> str:
    """+0.21, to two places."""
    return NOTHING if value is None else f"{value:+.2f}".replace("-", "−")
