"""A report in plain words: what its numbers say, the most important first.

    deltadata report RUN

A finding is {"kind", "text", "level"}: good, warn or note. An interval that holds 50 % is said to be undecided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, pairwise
from typing import Any

from deltadata.kinds import chose, ordered, sides
from deltadata.tables import CHOSEN, REJECTED

Tree = dict[str, Any]
Finding = dict[str, str]
FEW = 30  # pairs below which an agreement is not judged
MANY = 6  # pairings above which those that hold are counted, not listed
SHOWN = 5  # slices named
TILT, TIES, CUT, FULL, LOST = 0.1, 0.3, 0.05, 0.1, 0.25  # shares from which something is said
WORDS = {0.25: "a quarter", 1 / 3: "a third", 0.5: "half", 2 / 3: "two thirds", 0.75: "three quarters"}
CONTROLS = {
    "reversed": "This is the control `reversed`: the weaker rung's response is the chosen one on purpose.",
    "tied": "This is the control `tied`: both sides are samples of one rung; agreement near 50 % is its purpose.",
    "random": "This is the control `random`: a coin chose the sides; agreement near 50 % is its purpose.",
}


def findings(report: Tree) -> list[Finding]:
    """What a report (the contract of report.json, its findings aside) says."""
    said: list[Finding] = []
    if report["control"] != "none":
        said.append(_say("control", CONTROLS[report["control"]], "note"))
    if not report["pairs"]:
        return said + [_say("empty", "There is no pair: no prompt has a response of both rungs of a pairing.", "warn")]
    if not report["scorers"]:
        text = "No scorer: nothing here says that the stronger rung is better; `score:` in the recipe can."
        said.append(_say("no_scorer", text, "note"))
    for part in (_order, _disagree, _strengths, _slices, _length, _funnel, _saturation, _ties, _cut_off):
        said += part(report)
    return said


def _say(kind: str, text: str, level: str) -> Finding:
    return {"kind": kind, "text": text, "level": level}


def percent(share: float) -> str:
    """62 %; what is not nothing is never said to be 0 %."""
    return "under 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def between(limits: list[float]) -> str:
    return f"{100 * limits[0]:.0f}-{100 * limits[1]:.0f} %"


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}"


def verdict(limits: list[float] | None, n: int) -> str:
    """What an interval says of the order: holds, inverts, undecided, or few where there are too few pairs to say."""
    if limits is None or n < FEW:
        return "few"
    return "holds" if limits[0] > 0.5 else "inverts" if limits[1] < 0.5 else "undecided"


def step(upper: Mapping[str, Any], lower: Mapping[str, Any], scorer: str) -> str:
    """What two rungs' strengths say of their order: holds or inverts where the intervals lie apart, else undecided;
    equal; few where there are too few scores to say, or no strength."""
    values, limits = ([rung[key][scorer] for rung in (upper, lower)] for key in ("strength", "strength_ci95"))
    if None in [*values, *limits] or min(rung["scored"][scorer] for rung in (upper, lower)) < FEW:
        return "few"
    if abs(values[0] - values[1]) < 1e-9:
        return "equal"
    (low, high), (lowest, highest) = limits
    return "holds" if low > highest else "inverts" if high < lowest else "undecided"


def _scored(report: Tree) -> bool:
    return report["lead"] in report["scorers"]


def _order(report: Tree) -> list[Finding]:
    """By the lead, pairing by pairing: those that invert first."""
    if not _scored(report):
        return []
    lead, found = report["lead"], []
    if report.get("by") == lead:
        return [_say("by_score", f"{chose(lead)}.", "note")]
    for pairing in ordered(report["pairings"]):
        stats = pairing["measures"][lead]
        kind = verdict(stats["agreement_ci95"], stats["n"]) if stats["n"] else "unscored"
        found.append((kind, _agreement(kind, pairing, stats, report)))
    ranked = sorted(found, key=lambda one: ("inverts", "holds", "undecided", "few", "unscored").index(one[0]))
    if len(ranked) <= MANY:
        return [finding for _, finding in ranked]
    kinds = [kind for kind, _ in ranked]
    counted = (
        f"Of {len(ranked)} pairings {lead} agrees with the ladder in {kinds.count('holds')}, disagrees in "
        f"{kinds.count('inverts')}, is undecided in {kinds.count('undecided')} and says too little in "
        f"{kinds.count('few') + kinds.count('unscored')}."
    )
    level = "note" if report["control"] != "none" else "warn" if "inverts" in kinds else "good"
    return [_say("pairings", counted, level)] + [finding for kind, finding in ranked if kind == "inverts"][:SHOWN]


def _agreement(kind: str, pairing: Tree, stats: Tree, report: Tree) -> Finding:
    lead, name = report["lead"], sides(pairing)
    if kind == "unscored":
        return _say(kind, f"{lead} says nothing about {name}: no pair has a score on both sides.", "warn")
    share, n = percent(stats["agreement"]), stats["n"]
    if kind == "few":
        return _say(kind, f"{name}: {n} pairs with a score by {lead} are too few to say who is better.", "note")
    interval = between(stats["agreement_ci95"])
    if report["control"] != "none":
        text = f"{lead} prefers the chosen side in {share} of {n:,} pairs (95 % interval {interval}) for {name}."
        return _say(kind, text, "note")
    if kind == "inverts":
        text = (
            f"Your stronger rung loses: by {lead}, {pairing['rejected']} beats {pairing['chosen']} "
            f"(agreement {share} of {n:,} pairs, 95 % interval {interval})."
        )
        return _say(kind, text, "warn")
    text = f"{lead} agrees with the ladder in {share} of {n:,} pairs (95 % interval {interval}) for {name}"
    return _say(
        kind, text + (": undecided." if kind == "undecided" else "."), "note" if kind == "undecided" else "good"
    )


def _disagree(report: Tree) -> Iterator[Finding]:
    """Scorers that contradict the lead on a pairing."""
    lead = report["lead"]
    for pairing in report["pairings"] if _scored(report) else []:
        seen = {name: pairing["measures"][name] for name in report["scorers"]}
        kinds = {name: verdict(stats["agreement_ci95"], stats["n"]) for name, stats in seen.items()}
        for name, kind in kinds.items():
            if {kinds[lead], kind} == {"holds", "inverts"}:
                shares = [percent(seen[which]["agreement"]) for which in (lead, name)]
                text = f"{lead} and {name} contradict each other on {sides(pairing)}: agreement {' and '.join(shares)}."
                yield _say("disagree", text, "warn")


def _strengths(report: Tree) -> Iterator[Finding]:
    for name in report["scorers"]:
        scored = [rung for rung in report["ladder"] if rung["scored"][name]]
        rungs = [rung for rung in scored if rung["strength"][name] is not None]
        alone = [rung["model"] for rung in scored if rung not in rungs]
        if alone:
            text = f"{name} gives no strength to {', '.join(alone)}: no score there is matched with one of the others."
            yield _say("unlinked", text, "warn")
        if len(rungs) < 3:
            continue
        yield _ranked(report, name, rungs)


def _ranked(report: Tree, name: str, rungs: list[Tree]) -> Finding:
    """Whether the strengths have the recipe's order, and whether their intervals are wide apart enough to say so."""
    ranked = sorted(rungs, key=lambda rung: -rung["strength"][name])
    by_score, by_recipe = (" > ".join(rung["model"] for rung in order) for order in (ranked, rungs))
    kinds = [step(*two, name) for two in pairwise(rungs)]
    if set(kinds) == {"equal"}:
        return _say("strengths", f"{name} sees no difference in strength between any two rungs.", "note")
    if ranked == rungs:
        text, clear = f"The Bradley-Terry order by {name} is the recipe's: {by_score}", kinds.count("holds")
        if clear == len(kinds):
            return _say("strengths", f"{text}.", "good")
        return _say("strengths", f"{text}; {len(kinds) - clear} of {len(kinds)} steps are undecided.", "note")
    text = f"The Bradley-Terry order by {name} is {by_score}, the recipe says {by_recipe}"
    if not any(step(*two, name) == "inverts" for two in combinations(rungs, 2)):
        return _say("strengths", f"{text}: undecided, for the intervals of those that differ overlap.", "note")
    place, size = {rung["model"]: at for at, rung in enumerate(ranked)}, len(ranked)
    pairings = ordered(report["pairings"])
    places = [(place.get(pairing[CHOSEN], -1), place.get(pairing[REJECTED], size)) for pairing in pairings]
    against = report["control"] == "none" and any(chosen > rejected for chosen, rejected in places)
    more = "." if against else "; no pairing is against it."
    return _say("strengths", text + more, "warn" if against else "note")


def _slices(report: Tree) -> list[Finding]:
    """Slices that invert where their pairing as a whole does not."""
    if not report["slices_seen"] or report["control"] != "none":
        return []
    lead = report["lead"]
    stats = {sides(pairing): pairing["measures"][lead] for pairing in ordered(report["pairings"])}
    lost = {name for name, one in stats.items() if verdict(one["agreement_ci95"], one["n"]) == "inverts"}
    found = [one for one in report["slices"] if sides(one) not in lost]
    if not found:
        return []
    named = "; ".join(
        f"{sides(one)} on {one['by'].replace('_', ' ')} {one['slice']} "
        f"({percent(one['agreement'])} of {one['pairs']:,} pairs, {between(one['agreement_ci95'])})"
        for one in sorted(found, key=lambda one: one["agreement_ci95"][1])[:SHOWN]
    )
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    chance = f"{report['slices_seen']:,} slices were looked at; where there is no order, 2.5 % come out so by chance"
    return [_say("slices", f"The order inverts in parts, by {lead}: {named}{more}. {chance}.", "warn")]


def _length(report: Tree) -> Iterator[Finding]:
    pairings = ordered(report["pairings"])
    length, few = report["length_measure"], len(pairings) <= MANY
    for pairing in pairings:
        bias, name = pairing["length_bias"], sides(pairing)
        share = pairing["measures"].get(length, {}).get("share_positive")
        if bias is not None:
            share = bias["share_chosen_longer"]
        if share is None:
            continue
        if (n := pairing["measures"].get(length, {}).get("n", FEW)) < FEW:
            if few:
                yield _say("length", f"{name}: {n} pairs are too few to say which side is longer ({length}).", "note")
            continue
        text = f"{name}: the chosen side is longer in {percent(share)} of pairs ({length})"
        if bias is None or bias["matched"]["pairs"] < FEW:
            if abs(share - 0.5) >= TILT and few:
                yield _say("length", f"{text}.", "note")
            continue
        whole, matched = pairing["measures"][report["lead"]], bias["matched"]
        apart = matched["agreement"] - whole["agreement"]
        gone = verdict(whole["agreement_ci95"], whole["n"]) == "holds" != verdict(matched["agreement_ci95"], FEW)
        if few or gone:
            yield _say(
                "length", f"{text}; {_matched(whole, bias, apart)}", "warn" if gone and apart < -0.02 else "note"
            )


def _matched(whole: Tree, bias: Tree, apart: float) -> str:
    matched, fitted = bias["matched"], bias["controlled"]["agreement"]
    how = "falls" if apart <= -0.005 else "rises" if apart >= 0.005 else "stays"
    told = f"among {matched['pairs']:,} pairs of like length agreement {how} "
    if how == "stays":
        told += f"at {percent(matched['agreement'])}"
    else:
        told += f"from {percent(whole['agreement'])} to {percent(matched['agreement'])}"
    if matched["agreement_ci95"]:
        told += f" ({between(matched['agreement_ci95'])})"
    return told + ("." if fitted is None else f", and to {percent(fitted)} at length delta 0 by regression.")


def _funnel(report: Tree) -> list[Finding]:
    found, idle, lead = [], [], report["lead"]
    for rule in report["funnel"]:
        if not rule["dropped"]:
            idle.append(rule["rule"])
            continue
        text = f"{rule['rule']} removed {percent(rule['dropped'] / report['pairs'])} of pairs"
        before, after = rule["delta_before"][lead]["mean"], rule["delta_after"][lead]["mean"]
        lost = _lost(before, after)
        if before is not None and after is not None:
            same = number(before) == number(after)
            text += f" and {'left' if same else 'took'} the mean delta of {lead} " + (
                "at" if same else f"from {number(before)} to"
            )
            text += f" {number(after)}"
        heavy = _scored(report) and lost is not None and lost >= LOST
        text += f" ({_of_the_signal(lost)})" if heavy and lost is not None else ""
        found.append(_say("rule", f"{text}.", "warn" if heavy else "note"))
    if not report["kept"]:
        found.insert(0, _say("nothing_kept", "The filter left no pair.", "warn"))
    if idle:
        found.append(_say("idle_rules", f"{', '.join(idle)} dropped nothing.", "note"))
    return found


def _lost(before: float | None, after: float | None) -> float | None:
    return 1 - after / before if before is not None and after is not None and before > 0 else None


def _of_the_signal(lost: float) -> str:
    if lost >= 1:
        return "all of the signal"
    near = min(WORDS, key=lambda share: abs(share - lost))
    return f"{WORDS[near] if abs(near - lost) < 0.02 else percent(lost)} of the signal"


def _saturation(report: Tree) -> list[Finding]:
    full = report["saturation"]
    if full is None or full["at_max"] < FULL:
        return []
    top = f"the highest score by {full['scorer']} ({number(full['max'])})"
    text = f"{percent(full['at_max'])} of chosen responses already have {top}; {percent(full['both_at_max'])} of pairs"
    return [_say("saturation", f"{text} have it on both sides.", "note")]


def _ties(report: Tree) -> list[Finding]:
    if not _scored(report):
        return []
    lead = report["lead"]
    tied = [(p["measures"][lead]["share_tied"] or 0.0, sides(p)) for p in ordered(report["pairings"])]
    told = [f"{percent(share)} for {name}" for share, name in sorted(tied, reverse=True) if share >= TIES]
    return (
        [_say("ties", f"{lead} sees no difference in many pairs: {', '.join(told[:SHOWN])}.", "note")] if told else []
    )


def _cut_off(report: Tree) -> list[Finding]:
    cut = [(rung["cut_off"] or 0.0, rung["model"]) for rung in report["ladder"]]
    told = [f"{percent(share)} of {model}" for share, model in sorted(cut, reverse=True) if share >= CUT]
    return [_say("cut_off", f"Responses cut off at max_tokens: {', '.join(told)}.", "note")] if told else []
