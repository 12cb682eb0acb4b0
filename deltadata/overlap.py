"""Decontamination: what prompts share with evaluation sets, by n-grams of words, one row a prompt and pack.

    for hits in overlap(batches_of_texts, packs): ...       # nothing is kept from one batch to the next

An item is found in a prompt to the extent that its words stand in n-grams which the prompt has too: `covered`. That is
Tulu 3's measure (open-instruct, decontamination/search.py: the share of the test instance's tokens in 8-grams that one
training document has; above 0.5 is a match), here with words instead of spaCy's tokens and from 0.5 on. With size 13
and at_least 0 it is GPT-3's rule: any common 13-gram (Brown et al. 2020, appendix C).

An item of fewer words than n is one n-gram of its full length. Since a short question may be part of any longer text,
it counts only where it is more than half of the prompt's words: our choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deltadata.errors import UserError
from deltadata.ngrams import SIZES, SLICE_BYTES, Grams, Hashed, Hashes, Known, Pack, Places, hashed, item_at, known
from deltadata.tables import POOL, PROMPT_ID

SIZE, AT_LEAST = SIZES[0], 0.5
# The columns of what is found: the number of the prompt over all batches; the pack and its strongest item (the first
# of equals); the prompt's n-grams that the pack has; the share of the prompt's words in them; the share of the item's
# words in n-grams that the prompt has; all items of the pack with at least `at_least` of them.
ROW, PACK, ITEM, HITS, SHARE, COVERED, ITEMS = "row", "pack", "item", "hits", "share", "covered", "items"
SCHEMA = pl.Schema(
    {
        ROW: pl.UInt32(),
        PACK: pl.String(),
        ITEM: pl.UInt32(),
        HITS: pl.UInt32(),
        SHARE: pl.Float64(),
        COVERED: pl.Float64(),
        ITEMS: pl.List(pl.UInt32()),
    }
)
_MATCHES = 1 << 20  # (prompt, place in an item) at a time


def overlap(
    texts: Iterable[pl.Series], packs: Sequence[Pack], size: int = SIZE, at_least: float = AT_LEAST
) -> Iterator[pl.DataFrame]:
    """For every batch of texts a frame of SCHEMA: the prompts and packs that have an n-gram in common.

    A prompt is contaminated by a pack where `covered` is `at_least` or more; rows below that are given too. Raises
    UserError when two packs have the same name or one has no n-grams of `size`.
    """
    names = sorted(pack.name for pack in packs)
    for name, following in pairwise(names):
        if name == following:
            raise UserError("two packs have this name", where=name, cure="build one of them with another name")
    by_name = sorted(packs, key=lambda pack: pack.name)
    sought = [_Sought(number, pack.of_size(size), pack.edges()) for number, pack in enumerate(by_name)]
    lengths = sorted({length for pack in sought for length in pack.grams})
    looks = {
        length: known([pack.grams[length].hashes for pack in sought if length in pack.grams]) for length in lengths
    }
    row = 0
    for batch in texts:
        edges, common = _scan(batch, looks, size)
        yield _rows([_of_pack(pack, edges, common) for pack in sought], names, at_least, row)
        row += len(batch)


class _Sought(NamedTuple):
    """What is looked for of a pack: its number among all, n-grams by length, and where its items begin."""

    number: int
    grams: dict[int, Grams]
    edges: Places


class _Common(NamedTuple):
    """N-grams of one length that texts have in common with some pack: the words they begin at, and their hashes."""

    at: Places
    hashes: Hashes


def _scan(batch: pl.Series, looks: dict[int, Known], size: int) -> tuple[Places, dict[int, _Common]]:
    """Where each text of the batch begins, counted in words, and what is in common by length."""
    edges, found = [np.zeros(1, np.int64)], {length: [_Common(*_NOTHING)] for length in looks}
    before = 0
    for part in _slices(batch):
        seen = hashed(part)
        for length, look in looks.items():
            at, hashes = _common(seen, look, length, size)
            found[length].append(_Common(at + before, hashes))
        edges.append(seen.edges[1:] + before)
        before += len(seen.words)
    return np.concatenate(edges), {length: _by_hash(parts) for length, parts in found.items()}


def _by_hash(parts: list[_Common]) -> _Common:
    at, hashes = map(np.concatenate, zip(*parts, strict=True))
    order = np.argsort(hashes, kind="stable")  # packs are then searched from one end to the other
    return _Common(at[order], hashes[order])


_NOTHING = (np.zeros(0, np.int64), np.zeros(0, np.uint64))


def _slices(batch: pl.Series) -> Iterator[pl.Series]:
    """Consecutive rows of the batch with about SLICE_BYTES of text; a longer text is a slice by itself."""
    ends = batch.str.len_bytes().fill_null(0).cast(pl.Int64).cum_sum().to_numpy()
    start = 0
    while start < len(batch):
        before = int(ends[start - 1]) if start else 0
        end = max(int(np.searchsorted(ends, before + SLICE_BYTES, side="right")), start + 1)
        yield batch.slice(start, end - start)
        start = end


def _common(seen: Hashed, look: Known, length: int, size: int) -> _Common:
    begins = seen.starts(length)
    if length == size:
        hashes = seen.grams(length)
        at = look.has(hashes)
        at = at[begins[at]]
        return _Common(at, hashes[at])
    # A whole short item has to be more than half of the prompt: few prompts are that short.
    begins &= np.repeat(seen.counts, seen.counts)[: len(begins)] < 2 * length
    if not begins.any():
        return _Common(*_NOTHING)
    at = np.flatnonzero(begins)
    hashes = seen.grams(length)[at]
    known = look.has(hashes)
    return _Common(at[known], hashes[known])


_Part = tuple[NDArray[Any], ...]


class _Found(NamedTuple):
    """What texts have in common with one pack, as columns: its number, prompt, hits, share; and for every range of
    prompts its number, prompt, item, covered."""

    prompts: _Part
    items: list[_Part]


def _of_pack(pack: _Sought, edges: Places, common: dict[int, _Common]) -> _Found:
    begins, ends = [_NOTHING[0]], [_NOTHING[0]]
    items: list[_Part] = []
    for length, (hashes, at) in pack.grams.items():
        where, asked = common[length]
        low = np.searchsorted(hashes, asked)
        here = np.flatnonzero(hashes[low.clip(max=len(hashes) - 1)] == asked)
        low, where = low[here], where[here]
        high = np.searchsorted(hashes, asked[here], side="right")
        begins.append(where)
        ends.append(where + length)
        items += _items(pack, length, at, item_at(edges, where), low, high)
    begin, end = np.concatenate(begins), np.concatenate(ends)
    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], end[order]
    prompt, hits, covered = _sums(item_at(edges, begin), _fresh(begin, end))
    return _Found((_all(pack, prompt), prompt, hits, covered / np.diff(edges)[prompt]), items)


def _items(
    pack: _Sought, length: int, places: NDArray[np.uint32], prompt: Places, low: Places, high: Places
) -> Iterator[_Part]:
    """Of prompts and items the share of the item's words that are covered, from ranges of n-grams of one length."""
    # A prompt may have an n-gram many times; for the item it counts once.
    _, once = np.unique(prompt * len(places) + low, return_index=True)
    prompt, low, high = prompt[once], low[once], high[once]
    total = np.cumsum(high - low)
    start = 0
    while start < len(prompt):
        before = total[start - 1] if start else 0
        end = int(np.searchsorted(total, before + _MATCHES, side="right"))
        if end < len(prompt):  # whole prompts, one at least
            end = int(np.searchsorted(prompt, max(prompt[end], prompt[start] + 1)))
        many = (high - low)[start:end]
        steps = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
        at = places[np.repeat(low[start:end], many) + steps].astype(np.int64)
        yield _covered(pack, length, np.repeat(prompt[start:end], many), at)
        start = end


def _covered(pack: _Sought, length: int, prompt: Places, at: Places) -> _Part:
    width = int(pack.edges[-1])
    key = np.sort(prompt * width + at)  # prompt after prompt, in each its places in the pack
    fresh = _fresh(key, key + length)
    prompt, at = np.divmod(key, width)
    both, _, covered = _sums(prompt * len(pack.edges) + item_at(pack.edges, at), fresh)
    prompt, item = np.divmod(both, len(pack.edges))
    return _all(pack, prompt), prompt, item, covered / np.diff(pack.edges)[item]


def _all(pack: _Sought, like: Places) -> Places:
    return np.full_like(like, pack.number)


def _rows(found: list[_Found], names: list[str], at_least: float, first: int) -> pl.DataFrame:
    """The frame of one batch, whose first prompt has the number `first`; packs stand in the order of their names."""
    if not any(one.items for one in found):
        return SCHEMA.to_frame()
    shared = _joined([one.prompts for one in found], (ROW, HITS, SHARE))
    covered = _joined([part for one in found for part in one.items], (ROW, ITEM, COVERED))
    enough = pl.col(ITEM).filter(pl.col(COVERED) >= at_least).sort().alias(ITEMS)
    by_strength = covered.sort(ROW, PACK, -pl.col(COVERED), ITEM).group_by(ROW, PACK, maintain_order=True)
    rows = by_strength.agg(pl.col(ITEM, COVERED).first(), enough).join(shared, on=[ROW, PACK])
    named = pl.Series(PACK, names, pl.String).gather(rows[PACK])
    return rows.with_columns(pl.col(ROW) + first, named).select(SCHEMA.names()).cast(SCHEMA).sort(ROW, PACK)


def _joined(parts: list[_Part], columns: tuple[str, str, str]) -> pl.DataFrame:
    return pl.DataFrame(dict(zip((PACK, *columns), map(np.concatenate, zip(*parts, strict=True)), strict=True)))


def _fresh(begins: Places, ends: Places) -> Places:
    """The words of each span that no span before it has; the spans in the order of their beginnings."""
    reached = np.concatenate([begins[:1], np.maximum.accumulate(ends)[:-1]])
    fresh: Places = np.maximum(ends - np.maximum(begins, reached), 0)
    return fresh


def _sums(groups: Places, numbers: Places) -> tuple[Places, Places, Places]:
    """The distinct groups, how many numbers each has and their sum; equal groups stand together."""
    firsts = np.flatnonzero(np.diff(groups, prepend=-1))
    return groups[firsts], np.diff(np.append(firsts, len(groups))), np.add.reduceat(numbers, firsts)


def contaminated(at_least: float = AT_LEAST) -> pl.Expr:
    """Whether a row of `overlap` is contamination."""
    return pl.col(COVERED) >= at_least


def strongest(hits: pl.DataFrame, at_least: float = AT_LEAST) -> pl.DataFrame:
    """One row a contaminated prompt: the pack and the item of which it has most (the first of equals by name)."""
    return hits.filter(contaminated(at_least)).sort(ROW, -pl.col(COVERED), PACK).unique(ROW, keep="first").sort(ROW)


def report(
    hits: pl.DataFrame, prompts: pl.DataFrame, packs: Sequence[Pack], at_least: float = AT_LEAST, examples: int = 5
) -> dict[str, Any]:
    """The figures of a card, from the rows of `overlap` (same `at_least`) and the prompts (ROW, PROMPT_ID, POOL).

    {"at_least", "prompts": all of them,
     "packs": {pack: {"items", "prompts": contaminated, "share", "items_hit", "items_share", "examples": [{PROMPT_ID,
         POOL, ITEM, COVERED}]}},                      the examples: the strongest ones, of different items
     "table": {pool: {pack: {"prompts", "items"}}}}    train x eval: how many of each are in the other
    """
    found = hits.filter(contaminated(at_least)).join(prompts.select(ROW, PROMPT_ID, POOL), on=ROW)
    touched = found.select(POOL, PACK, ITEMS).explode(ITEMS).drop_nulls().unique()
    table: dict[str, dict[str, dict[str, int]]] = {}
    told: dict[str, dict[str, Any]] = {}
    for pool in prompts[POOL].unique().sort():
        table[pool] = {}
        for pack in sorted(packs, key=lambda pack: pack.name):
            here = (pl.col(POOL) == pool) & (pl.col(PACK) == pack.name)
            table[pool][pack.name] = {"prompts": found.filter(here).height, "items": touched.filter(here).height}
    for pack in sorted(packs, key=lambda pack: pack.name):
        rows = found.filter(pl.col(PACK) == pack.name)
        items = touched.filter(pl.col(PACK) == pack.name)[ITEMS].n_unique()
        shown = rows.sort(-pl.col(COVERED), ITEM, PROMPT_ID).unique(ITEM, keep="first", maintain_order=True)
        told[pack.name] = {
            "items": len(pack.words),
            "prompts": rows.height,
            "share": rows.height / max(prompts.height, 1),
            "items_hit": items,
            "items_share": items / max(len(pack.words), 1),
            "examples": shown.head(examples).select(PROMPT_ID, POOL, ITEM, COVERED).to_dicts(),
        }
    return {"at_least": at_least, "prompts": prompts.height, "packs": told, "table": table}
