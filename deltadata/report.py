"""PAIRS and the ladder's numbers to report.json: how large the deltas are, whose order they follow, what each rule did.

    deltadata report RUN --json

Every figure over pairs is over all pairs, before the filter, unless its key says `kept`. A measure's column is sorted
once; every group of pairs (a pairing, a pool, what a rule left) is read off it. Where pairs are of two kinds, a pairing
is of one of them, and what is said of the order (agreement, slices, length bias) is said of pairs by order alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from deltadata import agreement, findings, mixed, scored, scorer_notes, tables
from deltadata.scored import CHARACTERS, coded
from deltadata.spread import Array, Column, column, spearman, spread
from deltadata.tables import (
    BY_ORDER,
    BY_SCORE,
    CHOSEN,
    DROPPED_BY,
    MODEL,
    POOL,
    PREFERENCE_TYPE,
    PROMPT_ID,
    REJECTED,
    SIMILARITY,
    TOKENS,
    delta,
    of,
)

SPLIT = "split"  # the caller's working column
SPLITS = ("train", "test")
PAIRING = "pairing"
DIST = ("n", "mean", "std", "quantiles", "agreement")
Tree = dict[str, Any]


class About(NamedTuple):
    """What a report is told of the run: rungs strongest first, rules in their order, scorers among the measures, of
    those that are models or made of others what `scorer_notes.known` says, and who chose the pairs by score: of a set
    that has both kinds (`also`), of one that has no others (`by`)."""

    name: str
    control: str
    rungs: list[str]
    measures: list[str]
    scorers: list[str]
    rules: list[str]
    pools: list[str]
    seed: int
    scored_by: Mapping[str, Tree] = {}
    also: str | None = None
    by: str | None = None


class Cells(NamedTuple):
    """Each pair's cell and prompt (numbers); per cell its place on each axis (PAIRING, POOL, SPLIT, DROPPED_BY); the
    names on them, a pairing's as `kinds.key` has it."""

    of_row: Array
    prompts: Array
    axes: dict[str, Array]
    names: dict[str, list[Any]]

    @property
    def size(self) -> int:
        return len(self.axes[PAIRING])

    @property
    def left(self) -> Array:
        """Per cell, how many rules its pairs have passed: all of them when kept."""
        return self.axes[DROPPED_BY]

    @property
    def kept(self) -> Array:
        return np.equal(self.left, len(self.names[DROPPED_BY]))

    @property
    def by_order(self) -> Array:
        """Per cell, whether its pairs say something of the order of the rungs."""
        told = np.array([name.get(PREFERENCE_TYPE) != BY_SCORE for name in self.names[PAIRING]], dtype=bool)
        return told[self.axes[PAIRING]]


class Group(NamedTuple):
    """Pairs that a figure is over: their cells and, where a prompt has several of them, their rows and prompts."""

    member: Array
    rows: Array | None
    prompts: Array | None


class Pairing(NamedTuple):
    """A pairing's groups by (key, name) of the report, its rows, and each row's prompt; None: all differ."""

    groups: dict[tuple[str, str], Group]
    rows: Array
    prompts: Array | None


WHOLE, KEPT = ("measures", ""), ("measures_kept", "")


def report(pairs: pl.DataFrame, ladder: pl.DataFrame, about: About) -> Tree:
    """The report as a JSON tree, null for what is unknown; its `findings` say the same in words.

    `pairs` are PAIRS without text and with SPLIT; `ladder` has one row per response with text: key, pool, tokens,
    characters and a column per scorer. A prompt has one pool and one split. The same seed gives the same report,
    whatever the order of the rows.
    """
    seed = tables.rank(about.seed, "report")
    cells = _cells(pairs, about)
    counts = np.bincount(cells.of_row, minlength=cells.size)
    known = [_pairing(cells, place) for place in range(len(cells.names[PAIRING]))]
    pairings = [
        _outline(name, pairing, counts, cells) for name, pairing in zip(cells.names[PAIRING], known, strict=True)
    ]
    funnel = _funnel(cells, counts)
    correlations = _measures(pairs, about, cells, known, pairings, funnel, seed)
    facts = {
        "name": about.name,
        "control": about.control,
        "pairs": pairs.height,
        "kept": int(counts[cells.kept].sum()),
        "prompts": len(np.unique(cells.prompts)),
        "seed": about.seed,
        "measures": about.measures,
        "scorers": about.scorers,
        "lead": _lead(pairs, about),
        "length_measure": _length_measure(pairs),
        "findings": [],
        "pairings": pairings,
        "funnel": funnel,
        "ladder": scored.ladder(ladder, about.rungs, about.scorers, seed),
        "correlations": correlations,
        "scored_by": scorer_notes.over(about.scored_by, pairs, pairings),
        **{key: name for key, name in (("also", about.also), ("by", about.by)) if name},
    }
    facts |= scored.by_lead(facts, pairs, ladder, [(pairing.rows, pairing.prompts) for pairing in known], seed)
    return facts | {"findings": [*findings.findings(facts), *scorer_notes.findings(facts)]}


def _cells(pairs: pl.DataFrame, about: About) -> Cells:
    chosen, models = coded(pairs[of(CHOSEN, MODEL)], about.rungs)
    rejected, models = coded(pairs[of(REJECTED, MODEL)], models)
    names: dict[str, list[Any]] = {}
    by_score = mixed.by_score(pairs).to_numpy()
    codes = {PAIRING: (by_score * len(models) + chosen) * len(models) + rejected}  # pairings by order come first
    for axis, known in ((POOL, about.pools), (SPLIT, SPLITS), (DROPPED_BY, about.rules)):
        codes[axis], names[axis] = coded(pairs[axis], known)
    packed: Array = np.zeros(pairs.height, dtype=np.int64)
    sizes = {PAIRING: 2 * len(models) ** 2} | {axis: len(names[axis]) + 1 for axis in names}
    for axis, size in sizes.items():
        packed *= size
        packed += codes.pop(axis)
    found, of_row = np.unique(packed, return_inverse=True)
    axes = {}
    for axis, size in reversed(sizes.items()):
        found, axes[axis] = np.divmod(found, size)
    taken, axes[PAIRING] = np.unique(axes[PAIRING], return_inverse=True)
    kinds = (BY_ORDER, BY_SCORE) if PREFERENCE_TYPE in pairs.columns else ()
    names[PAIRING] = [_named(code, models, kinds) for code in taken.tolist()]
    prompts = np.unique(pairs[PROMPT_ID].hash().to_numpy(), return_inverse=True)[1]
    return Cells(of_row.astype(np.int32), prompts.astype(np.int32), axes, names)


def _named(code: int, models: list[str], kinds: Sequence[str]) -> Tree:
    both, rejected = divmod(code, len(models))
    kind, chosen = divmod(both, len(models))
    return {CHOSEN: models[chosen], REJECTED: models[rejected]} | ({PREFERENCE_TYPE: kinds[kind]} if kinds else {})


def _pairing(cells: Cells, place: int) -> Pairing:
    whole = cells.axes[PAIRING] == place
    rows = np.flatnonzero(whole[cells.of_row])
    several = np.bincount(cells.prompts[rows]).max(initial=0) > 1
    members = {WHOLE: whole, KEPT: whole & cells.kept}
    for key, axis in (("by_pool", POOL), ("by_split", SPLIT)):
        for code in np.unique(cells.axes[axis][whole]):
            members[key, cells.names[axis][code]] = whole & (cells.axes[axis] == code)
    groups = {}
    for name, member in members.items():
        own = rows[member[cells.of_row[rows]]] if several else None
        groups[name] = Group(member, own, None if own is None else cells.prompts[own])
    return Pairing(groups, rows, cells.prompts[rows] if several else None)


def _outline(name: Tree, pairing: Pairing, counts: Array, cells: Cells) -> Tree:
    """A pairing of the report, its measures to be filled in."""
    told = name | _counted(pairing.groups[WHOLE], counts, cells) | {KEPT[0]: {}, "by_pool": {}, "by_split": {}}
    for (key, part), group in pairing.groups.items():
        if part:
            told[key][part] = _counted(group, counts, cells)
    return told | {SIMILARITY: None, "length_bias": None}


def _counted(group: Group, counts: Array, cells: Cells) -> Tree:
    pairs, kept = (int(counts[member].sum()) for member in (group.member, group.member & cells.kept))
    return {"pairs": pairs, "kept": kept, "measures": {}}


def _measures(
    pairs: pl.DataFrame,
    about: About,
    cells: Cells,
    known: list[Pairing],
    pairings: list[Tree],
    funnel: list[Tree],
    seed: int,
) -> Tree:
    """Fill in every measure, one sorted column at a time; returns the rank correlations of those that vary."""
    vary, ranks = [], []
    for name in [*about.measures, *([SIMILARITY] if SIMILARITY in pairs.columns else [])]:
        values = pairs[tables.measured(name)].cast(pl.Float64).to_numpy()
        whole, ranked = column(values, cells.of_row, cells.size)
        for told, pairing in zip(pairings, known, strict=True):
            _measure(told, pairing, name, whole, values, seed)
        if name == SIMILARITY:
            continue
        _pass_through(funnel, name, whole, cells)
        if whole.values.size and whole.values[0] != whole.values[-1]:
            vary.append(name)
            ranks.append(ranked)
    return {"measures": vary, "spearman": spearman(ranks)}


def _measure(told: Tree, pairing: Pairing, name: str, whole: Column, values: Array, seed: int) -> None:
    """Fill in one measure for every group of the pairing; groups of the same pairs are worked out once."""
    own = whole.part(pairing.groups[WHOLE].member)
    done: dict[bytes, Tree] = {}
    for (key, part), group in pairing.groups.items():
        if name == SIMILARITY:
            if (key, part) == WHOLE and own.values.size:
                told[name] = {key: x for key, x in spread(own, group.member).items() if key in DIST[:-1]}
            continue
        if (again := group.member.tobytes()) not in done:
            done[again] = spread(own, group.member) | {"agreement_ci95": _interval(own, group, values, seed)}
        place = told[key][part]["measures"] if part else told[key]
        place[name] = done[again]


def _interval(own: Column, group: Group, values: Array, seed: int) -> list[float] | None:
    if group.rows is None or group.prompts is None:
        return agreement.interval(agreement.single(own.signs[group.member].sum(axis=0)), seed)
    mine = values[group.rows]
    known = np.isfinite(mine)
    signs = np.sign(mine[known]).astype(np.int8)
    return agreement.interval(agreement.outcomes(signs, group.prompts[known]), seed)


def _funnel(cells: Cells, counts: Array) -> list[Tree]:
    dropped = [int(counts[cells.left == place].sum()) for place in range(len(cells.names[DROPPED_BY]))]
    return [
        {"rule": rule, "dropped": n, "delta_before": {}, "delta_after": {}}
        for rule, n in zip(cells.names[DROPPED_BY], dropped, strict=True)
    ]


def _pass_through(funnel: list[Tree], name: str, left: Column, cells: Cells) -> None:
    """Fill in one measure before and after each rule: what a rule leaves is kept or dropped by a later one.

    Moments and quantiles are over all pairs, agreement over those by order.
    """
    member = np.ones(cells.size, dtype=bool)
    before = _left(left, member, cells)
    for place, rule in enumerate(funnel):
        rule["delta_before"][name] = before
        if rule["dropped"]:
            member = cells.left > place
            left = left.part(member)
            before = _left(left, member, cells)
        rule["delta_after"][name] = before


def _left(left: Column, member: Array, cells: Cells) -> Tree:
    told = {key: x for key, x in spread(left, member).items() if key in DIST}
    if not cells.by_order.all():
        told["agreement"] = spread(left.part(cells.by_order), member & cells.by_order)["agreement"]
    return told


def _lead(pairs: pl.DataFrame, about: About) -> str:
    """The measure the report leads with: the first scorer, else tokens, else characters, else any."""
    if about.scorers:
        return about.scorers[0]
    known = [name for name in about.measures if pairs[delta(name)].null_count() < max(pairs.height, 1)]
    return next(name for name in (TOKENS, CHARACTERS, *about.measures) if name in known or name == about.measures[-1])


def _length_measure(pairs: pl.DataFrame) -> str:
    """Tokens, or characters where the token counts of more than half of the pairs are unknown."""
    if delta(TOKENS) not in pairs.columns or 2 * pairs[delta(TOKENS)].null_count() > pairs.height:
        return CHARACTERS
    return TOKENS
