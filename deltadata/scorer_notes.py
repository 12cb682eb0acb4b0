"""What a person should know of scorers that are models, or made of other scores: the report's `scored_by`.

    deltadata report RUN

Of each: what it is, what it could not score and why, and what its numbers cannot be trusted with. Facts that a record
does not have are null, and no sentence is made of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from deltadata import kinds
from deltadata.findings import FEW, Finding, between, number, percent
from deltadata.tables import CHOSEN, MODEL, PROMPT_TOKENS, REJECTED, RESPONSE_TOKENS, SIDES, delta, of

Tree = dict[str, Any]
FLIPS, LOST, UNRESOLVED = 0.2, 0.05, 0.1  # shares above which something is said
REASONS = 5  # named in a sentence
CUT, UNMET = "cut", "unmet"
_JUDGE = (
    *("form", "aspects", "scale", "requests", "judged", "position_bias", "position_bias_ci95", "flips", "ties"),
    *("self_consistency", PROMPT_TOKENS, RESPONSE_TOKENS, "uncounted", "cost", UNMET),
)
_FORWARD = ("max_length", CUT, "resolution")
_COMBINED = (
    *("rule", "of", "labels", "weights", "ridge", "constant", "fitted_prompts", "fitted_pairs", "held_out_prompts"),
    *("held_out_pairs", "labelled_prompts", "labelled_pairs", "agreement", "gain"),
)
_KEYS = {"judge": _JUDGE, "reward_model": _FORWARD, "logprob": _FORWARD, "combined": _COMBINED}


def known(spec: Mapping[str, Any], facts: Mapping[str, Any], scored: int) -> Tree | None:
    """A scorer's tree from its entry in the record; None for checks and imported scores, which are what they are.

    `nulls` counts by reason: a judge's judgements without verdict, of others the responses without score.
    """
    kind = str(spec.get("scorer"))
    if kind not in _KEYS:
        return None
    notes = dict(facts.get("notes") or {})
    told = {"kind": kind, "what": "", "model": spec.get("model"), "engine": facts.get("engine") or spec.get("engine")}
    told |= {"dtype": facts.get("dtype"), "responses": facts.get("responses"), "scored": scored}
    told |= {key: facts.get(key, spec.get(key)) for key in _KEYS[kind]}
    if CUT in told:
        told[CUT] = notes.pop(CUT, 0)
        sessions = [one["resolution"] for one in facts.get("made_by", []) if one.get("resolution") is not None]
        told["resolution"] = max(sessions, default=told["resolution"])  # of several engines that of the coarsest
    told["nulls"] = dict(facts.get("nulls") or notes)
    return told | {"what": _what(told), "said": []}


def _what(told: Tree) -> str:
    """In a few words, without the model's name."""
    match told["kind"]:
        case "judge":
            how = f"ratings from 1 to {told['scale']}" if told["form"] == "rating" else "comparisons in both orders"
            return f"a judge's {how} on {', '.join(told['aspects'] or ['what it is told'])}"
        case "reward_model":
            return "a reward model's number"
        case "logprob":
            return "mean log-prob of the response's tokens, in nats"
    if told["rule"] == "logistic":
        return f"logistic regression of {', '.join(told['of'])} on the labels of {told['labels']}"
    return f"rank average of {', '.join(told['of'] or [])}"


def over(scorers: Mapping[str, Tree], pairs: pl.DataFrame, pairings: list[Tree]) -> dict[str, Tree]:
    """The scorers with what only pairs can tell (shares of deltas that an engine cannot tell from none), and `said`."""
    places, found = {(one[CHOSEN], one[REJECTED]): place for place, one in enumerate(pairings)}, {}
    for name, told in scorers.items():
        below = _unresolved(pairs, name, told.get("resolution"))
        told = told | {"unresolved": sorted(below, key=lambda one: places[one[CHOSEN], one[REJECTED]])}
        found[name] = told | {"said": [*_said(name, told)]}
    return found


def _unresolved(pairs: pl.DataFrame, name: str, resolution: float | None) -> list[Tree]:
    """By pairing, the pairs with a delta and the share of them whose delta is below the resolution."""
    if resolution is None:
        return []
    size, sides = pl.col(delta(name)).abs(), [of(side, MODEL) for side in SIDES]
    found = (
        pairs.lazy().filter(size.is_not_null()).group_by(sides).agg(pairs=pl.len(), share=(size < resolution).mean())
    )
    named = found.with_columns(pl.col(sides).cast(pl.String)).rename(dict(zip(sides, SIDES, strict=True)))
    return named.collect().to_dicts()


def _said(name: str, told: Tree) -> Iterator[str]:
    if told["nulls"]:
        what = "judgements have no verdict" if told["kind"] == "judge" else "responses have no score"
        yield f"{sum(told['nulls'].values()):,} {what}: {reasons(told['nulls'])}."
    if told["kind"] == "judge":
        yield from _of_judge(told)
    elif told["kind"] == "combined":
        yield from _of_combined(name, told)
    else:
        yield from _of_forward(told)


def reasons(nulls: Mapping[str, int]) -> str:
    """The most frequent first, each with its number."""
    ranked = sorted(nulls.items(), key=lambda one: (-one[1], one[0]))
    named = [*ranked[:REASONS], ("others", sum(n for _, n in ranked[REASONS:]))]
    return ", ".join(f"{reason} ({n:,})" for reason, n in named if n)


def _of_judge(told: Tree) -> Iterator[str]:
    if told[UNMET]:
        why = "no other response of its pairings is there, or it has the same text"
        yield f"{told[UNMET]:,} responses were compared with none, and have no score: {why}."
    if told["position_bias"] is not None:
        limits = [0.5 + limit for limit in told["position_bias_ci95"] or []]
        interval = f" (95 % interval {between(limits)})" if limits else ""
        share = percent(0.5 + told["position_bias"])
        yield f"It prefers the response shown first in {share}{interval} of the verdicts that are no tie."
    if told["flips"] is not None:
        tied = "" if told["ties"] is None else f"; {percent(told['ties'])} of the verdicts are ties"
        yield f"It contradicts itself in {percent(told['flips'])} of the pairs when the two change places{tied}."
    if (same := told["self_consistency"]) is not None:
        spread = f"of one rating differ by {number(same)} points (standard deviation)"
        yield f"Its draws {spread if told['form'] == 'rating' else f'agree with each other in {percent(same)}'}."
    if told[PROMPT_TOKENS] is not None and told[RESPONSE_TOKENS] is not None:
        cost = "" if told["cost"] is None else f", {number(told['cost'])} US dollars"
        left = f"; {told['uncounted']:,} requests were not counted" if told["uncounted"] else ""
        yield f"It read {told[PROMPT_TOKENS]:,} tokens and wrote {told[RESPONSE_TOKENS]:,}{cost}{left}."


def _of_forward(told: Tree) -> Iterator[str]:
    if told[CUT]:
        yield f"{told[CUT]:,} responses were cut to fit its window{_window(told)}."
    if told["resolution"] is not None:
        each = [f"{percent(one['share'])} of {one[CHOSEN]} over {one[REJECTED]}" for one in told["unresolved"]]
        which = f": {', '.join(each)}" if each else ""
        yield f"The engine cannot tell a delta below {number(told['resolution'])} from none{which}."


def _window(told: Tree) -> str:
    return "" if told["max_length"] is None else f" of {told['max_length']:,} tokens"


def _of_combined(name: str, told: Tree) -> Iterator[str]:
    if told["weights"]:
        weights = ", ".join(f"{scorer} {number(weight)}" for scorer, weight in told["weights"].items())
        yield f"Weights per standard deviation, fitted on {told['fitted_prompts']:,} prompts: {weights}."
    if told["constant"]:
        yield f"{', '.join(told['constant'])} gave every response the same score."
    shares = {scorer: one for scorer, one in (told["agreement"] or {}).items() if one["agreement"] is not None}
    if shares:
        held = "held-out pairs" if told["rule"] == "logistic" else "labelled pairs"
        each = [
            f"{scorer} {percent(one['agreement'])}" + (f" ({between(one['ci95'])})" if one["ci95"] else "")
            for scorer, one in shares.items()
        ]
        n = next(iter(shares.values()))["n"]
        yield f"Agreement with {told['labels']} over {n:,} {held}: {', '.join(each)}."


def findings(report: Tree) -> Iterator[Finding]:
    """What should make a reader wary of a scorer, and whether a combined one was worth it."""
    yield from _picked(report)
    for name, told in report["scored_by"].items():
        yield from _lost(name, told, report)
        if told["kind"] == "judge":
            yield from _biased(name, told)
        for one in told["unresolved"]:
            if one["share"] > UNRESOLVED and one["pairs"] >= FEW:
                text = f"{name} cannot tell the sides of {one[CHOSEN]} over {one[REJECTED]} apart in "
                text += f"{percent(one['share'])} of {one['pairs']:,} pairs: their deltas are below "
                yield _say("unresolved", f"{text}{number(told['resolution'])}, which the engine cannot tell from none.")
        if (gain := told.get("gain")) and gain["ci95"]:
            yield _gain(name, told, gain)


def _say(kind: str, text: str, level: str = "warn") -> Finding:
    return {"kind": kind, "text": text, "level": level}


def _picked(report: Tree) -> Iterator[Finding]:
    """Of the pairs by score beside those by order: who picked them, and which side is longer."""
    if not (found := kinds.scored(report["pairings"])):
        return
    count = sum(pairing["pairs"] for pairing in found)
    yield _say("by_score", f"{count:,} pairs are by score: {kinds.picked(report['also'])} of the order.", "note")
    length = report["length_measure"]
    known = [stats for pairing in found if (stats := pairing["measures"].get(length, {})).get("n")]
    if (n := sum(stats["n"] for stats in known)) >= FEW:
        share = percent(sum(stats["n"] * stats["share_positive"] for stats in known) / n)
        yield _say("length", f"Pairs by score: the chosen side is longer in {share} of {n:,} ({length}).", "note")


def _lost(name: str, told: Tree, report: Tree) -> Iterator[Finding]:
    """Of the responses of rungs that are paired."""
    paired = {pairing[side] for pairing in report["pairings"] for side in SIDES}
    rungs = [rung for rung in report["ladder"] if rung[MODEL] in paired]
    total, scored = sum(rung["responses"] for rung in rungs), sum(rung["scored"][name] for rung in rungs)
    if total - scored > LOST * total:
        why = f": {reasons(told['nulls'])}" if told["nulls"] else ""
        yield _say(
            "unscored_responses", f"{name} has no score for {percent(1 - scored / total)} of {total:,} responses{why}."
        )


def _biased(name: str, told: Tree) -> Iterator[Finding]:
    bias, limits = told["position_bias"], told["position_bias_ci95"]
    if bias is not None and limits and not limits[0] <= 0 <= limits[1]:
        text = f"{name} prefers the response shown first in {percent(0.5 + bias)} of the verdicts "
        text += f"that are no tie (95 % interval {between([0.5 + limit for limit in limits])}); "
        text += "both orders were asked and count alike."
        yield _say("position_bias", text, "note")
    if (told["flips"] or 0.0) > FLIPS:
        text = f"{name} contradicts itself in {percent(told['flips'])} of pairs when the two responses change places"
        yield _say("flips", f"{text}; such a pair counts as a tie.")


def _gain(name: str, told: Tree, gain: Tree) -> Finding:
    """Whether the combined score is better than the best of its parts, by the interval of the difference."""
    shares = [percent(told["agreement"][scorer]["agreement"]) for scorer in (name, gain["over"])]
    low, high = (f"{100 * limit:+.1f}" for limit in gain["ci95"])
    agree = f"{shares[0]} and {shares[1]} agreement with {told['labels']}, difference {100 * gain['difference']:+.1f} "
    agree += f"points, 95 % interval {low} to {high}"
    if told["agreement"][name]["n"] < FEW:
        return _say(
            "combined", f"{told['agreement'][name]['n']} pairs are too few to compare {name} with its parts.", "note"
        )
    if gain["ci95"][0] > 0:
        return _say("combined", f"{name} is better than {gain['over']}, the best of its parts ({agree}).", "good")
    worse = gain["ci95"][1] < 0
    than = "is worse than" if worse else "is not shown to be better than"
    return _say(
        "combined", f"{name} {than} {gain['over']}, the best of its parts ({agree}).", "warn" if worse else "note"
    )
