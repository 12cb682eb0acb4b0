"""The card's figures over pairs, off the report: magnitudes of the deltas, and what each picture shows in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from deltadata import kinds
from deltadata.page import count, interval, percent, signed
from deltadata.tables import MODEL

_GLANCE = 8  # pairings that a text names
Tree = dict[str, Any]
Report = Mapping[str, Any]


def main(told: Report) -> list[str]:
    """The measures of the tables of magnitudes: every score, and the length."""
    return list(dict.fromkeys([told["lead"], *told["scorers"], told["length_measure"]]))


def magnitudes(told: Report) -> dict[str, dict[str, list[Tree]]]:
    """By what they are over (the kept pairs, all pairs) and by measure, a row for each pairing."""
    return {
        over: {name: [kinds.key(pairing) | pairing[key][name] for pairing in told["pairings"]] for name in main(told)}
        for over, key in (("kept", "measures_kept"), ("all", "measures"))
    }


def seen(picture: str, told: Report) -> str:
    """A picture's text for who cannot see it: what it draws and what it says."""
    return _SEEN[picture](told) if picture in _SEEN else f"Picture {picture}."


def _deltas(told: Report) -> str:
    lead, length = told["lead"], told["length_measure"]
    what = lead if lead == length else f"{lead} and of {length}"
    said = _each(
        told["pairings"], lead, lambda stats: f"the delta of {lead} is positive in {percent(stats['share_positive'])}"
    )
    return f"Histograms of the delta of {what} for each pairing. {said}"


def _agreement(told: Report) -> str:
    lead = told["lead"]
    pairings = kinds.ordered(told["pairings"])
    said = _each(pairings, lead, lambda stats: f"{percent(stats['agreement'])} {_within(stats)}".strip())
    return f"Dots with 95 % intervals: how often {lead} prefers the chosen side. {said}"


def _within(stats: Tree) -> str:
    return f"({interval(stats['agreement_ci95'])})" if stats["agreement_ci95"] else ""


def _ladder(told: Report) -> str:
    lead = told["lead"]
    known = [(rung["strength"][lead], rung[MODEL]) for rung in told["ladder"] if rung["strength"].get(lead) is not None]
    said = ", ".join(f"{name} {signed(strength)}" for strength, name in known[:_GLANCE])
    return f"Strength of each rung by {lead}, strongest in the recipe first: {said}."


def _quality(told: Report) -> str:
    return f"The delta of {told['lead']} against the chosen side's own {told['lead']}, a panel for each pairing."


def _length(told: Report) -> str:
    lead, length = told["lead"], told["length_measure"]
    across = f"the {length} of the rejected side" if lead == length else f"the delta of {length}"
    pairings = kinds.ordered(told["pairings"])
    said = _each(pairings, length, lambda stats: f"chosen is longer in {percent(stats['share_positive'])}")
    return f"The delta of {lead} against {across}, a panel for each pairing. {said}"


def _funnel(told: Report) -> str:
    left, steps = told["pairs"], [f"{count(told['pairs'])} pairs"]
    for rule in told["funnel"]:
        left -= rule["dropped"]
        steps.append(f"{count(left)} after {rule['rule']}")
    return f"Bars of the pairs that each rule left, with their mean delta of {told['lead']}: {', '.join(steps)}."


def _each(pairings: list[Tree], measure: str, say: Callable[[Tree], str]) -> str:
    """A clause for each pairing of which the measure is known."""
    known = [(kinds.sides(pairing), pairing["measures"][measure]) for pairing in pairings[:_GLANCE]]
    said = [f"{name}: {say(stats)}" for name, stats in known if stats["n"]]
    return "; ".join(said) + "." if said else ""


_SEEN: dict[str, Callable[[Report], str]] = {
    seen.__name__[1:]: seen for seen in (_deltas, _ladder, _quality, _length, _funnel, _agreement)
}
