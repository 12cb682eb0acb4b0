"""What to beware of in a dataset, in sentences computed from its run: the card's known limits.

A limit is {"what", "text", "level"}: `warn` is what a reader must see first, `note` what belongs to a whole account.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deltadata import kinds, measure, page
from deltadata.findings import CUT, TILT, between, percent, verdict
from deltadata.kinds import ordered, sides
from deltadata.page import count, signed

Tree = dict[str, Any]
RARE, SEEN = 0.01, 2  # a phrase on the chosen side alone is warned of from this share and above this number of pairs
LOOPS = 0.05  # the mean delta of repetition that is warned of
NAMED = 5  # languages, or rungs, that a sentence names
PHRASES = {
    measure.refusal: ("Refusals", "opens with a refusal"),
    measure.identity: ("Identity", "names itself a model"),
    measure.date_cutoff: ("Dates", "tells until when its knowledge goes"),
}


def limits(facts: Tree) -> list[Tree]:
    """Over the kept pairs, which are those that are published, unless a sentence says otherwise."""
    told = facts["told"]
    found = [
        *_control(told),
        *_order(told, facts["by"], facts["also"]),
        *_length(told),
        *_phrases(told),
        *_repetition(told),
        *_cut_off(told, facts),
    ]
    found += [*_languages(facts["languages"]), *_contamination(facts), *_licences(facts["licence"]["parts"])]
    gain = "A positive delta does not promise a gain in training: the paper says that such pairs can teach, not that "
    found += [
        _limit(
            "Unchecked",
            "Nothing in the run looks for falsehood or harm in the answers; a score says only what its scorer sees.",
        ),
        _limit("Gain", gain + "these do. Measure the student."),
    ]
    return sorted(found, key=lambda limit: bool(limit["level"] != "warn"))


def _limit(what: str, text: str, warn: bool = False) -> Tree:
    return {"what": what, "text": text, "level": "warn" if warn else "note"}


def pooled(pairings: Sequence[Tree], name: str) -> Mapping[str, float] | None:
    """A measure over the kept pairs of these pairings: n, mean, and the shares above, at and below 0. None: unknown."""
    kept = [pairing["measures_kept"].get(name) for pairing in pairings]
    known = [stats for stats in kept if stats and stats["n"]]
    n = sum(stats["n"] for stats in known)
    if not n:
        return None
    keys = {"mean": "mean", "above": "share_positive", "at": "share_tied"}
    found = {key: sum(stats["n"] * stats[stat] for stats in known) / n for key, stat in keys.items()}
    return found | {"n": n, "below": max(1 - found["above"] - found["at"], 0.0)}


def _control(told: Tree) -> Iterator[Tree]:
    if told["control"] != "none":
        text = f"The pairs are the control `{told['control']}`: they exist for comparison, not to train a better model."
        yield _limit("Control", text.replace("`", ""), warn=True)


def _order(told: Tree, by: Any, also: Tree | None) -> Iterator[Tree]:
    """Whether anything but the recipe says that the chosen side is the better one; of pairs by score, who says so."""
    lead = told["lead"]
    if also and (chosen := sum(pairing["kept"] for pairing in kinds.scored(told["pairings"]))):
        text = f"{count(chosen)} of the pairs are by score alone: {kinds.picked(also['by'])}; "
        yield _limit("Order", f"{text}its mistakes are the labels'.")
    if by:
        text = f"{kinds.chose(by.by)}; its mistakes are the labels'."
        yield _limit("Order", text)
    elif lead not in told["scorers"]:
        yield _limit("Order", "No score says that the chosen side is better: the order of the rungs is assumed.", True)
    elif told["control"] == "none":
        for pairing in ordered(told["pairings"]):
            stats = pairing["measures_kept"][lead]
            if pairing["kept"] and (doubt := _doubt(stats, lead)):
                yield _limit("Order", f"{sides(pairing)}: {doubt}.", warn=True)


def _doubt(stats: Tree, lead: str) -> str | None:
    if not stats["n"]:
        return f"no kept pair has a score by {lead} on both sides, so nothing says which is better"
    said = verdict(stats["agreement_ci95"], stats["n"])
    if said == "few":
        return f"{stats['n']} pairs with a score by {lead} are too few to say which side is better"
    words = {"inverts": "prefers the rejected side", "undecided": "does not tell which side is better"}
    if said not in words:
        return None
    interval = between(stats["agreement_ci95"])
    return f"{lead} {words[said]} (agreement {percent(stats['agreement'])}, 95 % interval {interval})"


def _length(told: Tree) -> Iterator[Tree]:
    name = told["length_measure"]
    found = pooled(told["pairings"], name)
    if found is None:
        yield _limit("Length", "The lengths of the two sides are not known.", warn=True)
        return
    groups = {sides(pairing): [pairing] for pairing in ordered(told["pairings"])}
    groups |= {"those by score": kinds.scored(told["pairings"])}  # whose pairings are many, and small
    known = {named: stats for named, group in groups.items() if (stats := pooled(group, name))}
    low, high = (find(known, key=lambda named: known[named]["above"]) for find in (min, max))
    text = f"Chosen is longer in {percent(found['above'])} of the pairs and shorter in {percent(found['below'])} "
    text += f"({signed(found['mean'])} {name} on average)"
    if low != high:
        least, most = (percent(known[named]["above"]) for named in (low, high))
        text += f"; longer in {least} of {low}, in {most} of {high}"
    tilted = any(abs(stats["above"] + stats["at"] / 2 - 0.5) >= TILT for stats in known.values())
    text += ". A student can learn length instead of quality." if tilted else "."
    yield _limit("Length", text, warn=tilted)


def _phrases(told: Tree) -> Iterator[Tree]:
    for phrase, (what, does) in PHRASES.items():
        found = pooled(told["pairings"], phrase.__name__)
        if found is None:
            yield _limit(what, f"Whether an answer {does} was not measured.")
            continue
        alone = [count(round(found[side] * found["n"])) for side in ("above", "below")]
        text = f"Chosen alone {does} in {alone[0]} of {count(found['n'])} pairs, rejected alone in {alone[1]}."
        often = found["above"] >= RARE and found["above"] * found["n"] > SEEN
        yield _limit(what, text, warn=often and found["above"] > found["below"])


def _repetition(told: Tree) -> Iterator[Tree]:
    found = pooled(told["pairings"], measure.repetition.__name__)
    if found is not None:
        text = f"Chosen repeats itself more in {percent(found['above'])} of the pairs and less in "
        text += f"{percent(found['below'])}: {signed(found['mean'])} of its runs of four words on average."
        yield _limit("Repetition", text, warn=found["mean"] >= LOOPS)


def _cut_off(told: Tree, facts: Tree) -> Iterator[Tree]:
    """Over all answers, kept or not."""
    known = [(rung["cut_off"], rung["model"]) for rung in told["ladder"] if rung["cut_off"] is not None]
    cut = [f"{percent(share)} of {name}" for share, name in sorted(known, reverse=True) if share][:NAMED]
    if cut:
        text = f"Of all answers the token limit ended {', '.join(cut)}."
        yield _limit("Cut off", text, warn=max(known)[0] >= CUT)
    elif known:
        yield _limit("Cut off", "No answer was ended by the token limit.")
    if unknown := [rung["model"] for rung in told["ladder"] if rung["cut_off"] is None]:
        more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
        text = f"Whether a token limit ended answers of {', '.join(unknown[:NAMED])}{more} is not known."
        yield _limit("Cut off", text)
    if failed := [f"{count(rung['errors'])} of {rung['name']}" for rung in facts["rungs"] if rung["errors"]]:
        yield _limit("Failed", f"Answers that failed and are in no pair: {', '.join(failed)}.")


def _languages(languages: Mapping[str, float] | None) -> Iterator[Tree]:
    if languages is None:
        yield _limit("Languages", "The language of the answers was not measured.")
    elif not languages:
        yield _limit("Languages", "The language of the chosen answers cannot be told: they are too short, or code.")
    else:
        often = {code: share for code, share in languages.items() if share >= RARE}
        told = [f"{page.percent(share)} {code}" for code, share in list(often.items())[:NAMED]]
        rest = len(languages) - len(told)
        more = f", and {rest} more language{'s' if rest > 1 else ''}" if rest else ""
        yield _limit("Languages", f"Of the chosen answers whose language can be told: {', '.join(told)}{more}.")


def _contamination(facts: Tree) -> Iterator[Tree]:
    if not facts["contamination"]:
        text = "The prompts were not checked against any evaluation set."
        yield _limit("Contamination", text, warn=True)
        return
    packs = list(facts["contamination"]["packs"])
    text = f"The prompts were checked against {', '.join(packs)} by {facts['ngram']}-grams of words; not against other "
    yield _limit("Contamination", text + "sets, and a paraphrase is not found.")


def _licences(parts: list[Tree]) -> Iterator[Tree]:
    """The parts that stop a push until they are accepted; the table of licences has the reasons."""
    unknown = [part for part in parts if part["stops"] and part["licence"] is None]
    if unknown:
        named = ", ".join(part["where"] for part in unknown[:NAMED])
        more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
        yield _limit("Licence", f"Not known of {named}{more}{_open(unknown)}.", warn=True)
    for part in parts:
        if part["stops"] and part["licence"] is not None:
            kind = "of unknown conditions" if part["kind"] == "unknown" else part["kind"]
            yield _limit("Licence", f"{part['where']} is under {part['licence']}, {kind}{_open([part])}.", warn=True)


def _open(parts: list[Tree]) -> str:
    left = sum(not part["accepted"] for part in parts)
    return f"; {left} of {len(parts)} not accepted in the recipe" if left else "; accepted in the recipe, with reasons"
