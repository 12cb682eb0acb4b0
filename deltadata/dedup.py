"""Duplicates among prompts: the same conversation, the same normalised text, nearly the same text. The first stays.

    deltadata collect RECIPE        # collect.dedup: near

Two texts are near duplicates when the Jaccard similarity of their shingles is at least the threshold. The shingles of
a text are the 5-byte windows of its normalised UTF-8, {b[i:i+5] for i in range(len(b))}: a Latin letter is one byte, a
Chinese character three, so scripts without spaces need no word borders. Candidates come from MinHash bands (package
rensa); each is verified by its true similarity. Text waits in an unnamed file, not in memory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deltadata.errors import UserError, need
from deltadata.tables import CONTENT, PROMPT, PROMPT_ID, ROLE

ROW, TWIN_ROW, JACCARD = "row", "twin_row", "jaccard"
WINDOW, HASHES = 5, 80  # bytes of a shingle; MinHash values of a row, a byte each
RECALL = 0.99  # of the pairs at the threshold, at least; the number of bands follows
BUCKET = 64  # kept rows that one bucket shows to later rows; see `near`
BLOCK, PAIRS, BYTES = 512, 50_000, 1 << 20  # rows settled at once, pairs among them, bytes of text taken at once
_MIX = np.uint64(0x9E3779B97F4A7C15)

Numbers = NDArray[np.int64]
Bytes = NDArray[np.uint8]

# Letters of other scripts by the Latin letter that they look like. Greek and Cyrillic go by the look of the capital
# where the two cases differ, as both cases must fold alike; not the Greek mu: a microgram is no milligram.
_ALIKE = {
    **dict(zip("авеёкмнорстухіїјѕԁԛԝһӏ", "abeekmhopctyxiijsdqwhl", strict=True)),
    **dict(zip("αβεζηικνορτυχ", "abezhiknoptyx", strict=True)),
    **dict(zip("ıɑɡßς", ("i", "a", "g", "ss", "σ"), strict=True)),
    **dict.fromkeys("‐‑‒–—―−", "-"),
}
# NFKC would make 10² of 102.
_POWERS = {digit: f"^{plain}" for digit, plain in zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789", strict=True)}
_UNSEEN = r"[\p{Cf}\x{34F}\x{115F}\x{1160}\x{17B4}\x{17B5}\x{FE00}-\x{FE0F}]+"
_GAPS = r"[[\s\p{P}\p{Cc}`\x{2800}]--[#%&*/@\\_\-]]+"


def plain(messages_column: str = PROMPT) -> pl.Expr:
    """The contents of the user turns, joined by a newline: the text by which prompts are compared."""
    turn = pl.element().struct
    spoken = turn.field(CONTENT).filter(turn.field(ROLE) == "user")
    return pl.col(messages_column).list.eval(spoken).list.join("\n")


def normal(text: pl.Expr) -> pl.Expr:
    """Text as compared: what is folded here is no difference between two prompts.

    In turn: NFKC (full width, ligatures; powers stay: 10² is 10^2), lower case (ß is ss), letters of the tables above
    that look Latin and all dashes, unseen characters removed (zero width, soft hyphen, direction marks, variation
    selectors); then white space, control characters and punctuation are one space, none at the ends. Signs that carry
    a meaning stay: # % & * / @ \\ _ - and symbols such as + = < $. Accents stay.
    """
    # NFKC and the tables cost ten times the rest; ASCII needs neither.
    rare = pl.when(text.str.len_bytes() != text.str.len_chars()).then(text)
    wide = rare.str.replace_many(_POWERS).str.normalize("NFKC").str.to_lowercase().str.replace_many(_ALIKE)
    folded = pl.coalesce(wide.str.replace_all(_UNSEEN, ""), text.str.to_lowercase())
    return folded.str.replace_all(_GAPS, " ").str.strip_chars(" ")


def key(text: pl.Expr) -> pl.Expr:
    """128 bits for the normalised text, null where nothing is left of it: the column for `twins`.

    Any two of ten million texts share a key by chance once in 10**24 pools. For one run: polars' hash may change.
    """
    folded = normal(text)
    both = folded.hash(0).cast(pl.UInt128) * 2**64 + folded.hash(1).cast(pl.UInt128)
    return pl.when(folded.str.len_bytes() > 0).then(both)


def twins(frame: pl.DataFrame, column: str, fixed_rows: int = 0) -> pl.Series:
    """For each row the prompt_id of the first row with the same value in `column`, null for that first row itself.

    frame: rows in the order of priority, with prompt_id and `column`; a null takes no part. The first `fixed_rows` are
    never duplicates.
    """
    later = pl.col(column).is_not_null() & ~pl.col(column).is_first_distinct() & (pl.int_range(pl.len()) >= fixed_rows)
    return frame.select(pl.when(later).then(pl.col(PROMPT_ID).first().over(column)).alias("twin"))["twin"]


def near(
    texts: Iterable[pl.Series],
    threshold: float = 0.8,
    seed: int = 0,
    *,
    fixed_rows: int = 0,
    priority: pl.Series | None = None,
    scratch: Path | None = None,
) -> pl.DataFrame:
    """Rows that are nearly an earlier kept row: `row`, `twin_row` and their true `jaccard`, ordered by row.

    Greedy: in order, a row is dropped when it is at least `threshold` similar to a row kept before it, and its twin is
    the first such row. Dropped rows drop nobody. The order is the rows', or `priority` (lowest first; a number a row).
    The first `fixed_rows` rows come before all others, in row order, and stay. A null or empty text takes no part.

    texts: batches in row order; how they are cut, and the number of threads, changes nothing. scratch: a folder (on a
    disk) for the normalised texts. Of more than 64 kept rows in one bucket of a band only the first 64 are looked up.
    Raises UserError for a threshold outside [0.5, 1], or without the package rensa.
    """
    band_rows(threshold)  # refuses before a text is read
    with tempfile.TemporaryFile(dir=scratch) as file:
        signatures, starts = _read(texts, seed, file)
        order = _order(np.diff(starts) > 0, fixed_rows, priority)
        pool = _Pool(file, starts, signatures, *_suspects(signatures, threshold, order), threshold, {}, {})
        fixed, count = int((pool.rows < fixed_rows).sum()), len(pool.rows)
        pool.keep(range(fixed))
        for start in range(fixed, count, BLOCK):
            _settle(pool, list(range(start, min(start + BLOCK, count))))
    found = [(pool.rows[place], pool.rows[twin], jaccard) for place, (twin, jaccard) in pool.dropped.items()]
    kinds = {ROW: pl.UInt32, TWIN_ROW: pl.UInt32, JACCARD: pl.Float64}
    return pl.DataFrame(found, schema=kinds, orient="row").sort(ROW)


def band_rows(threshold: float) -> int:
    """How many of the 80 hashes make a band: as many as keep the recall at the threshold. 5 (16 bands) for 0.8."""
    if not 0.5 <= threshold <= 1:
        raise UserError(f"the threshold {threshold} is outside [0.5, 1]", cure="0.8 is a good start")
    return max(rows for rows in range(1, 9) if 1 - (1 - threshold**rows) ** (HASHES // rows) >= RECALL)


# Signatures


def _read(texts: Iterable[pl.Series], seed: int, file: BinaryIO) -> tuple[Bytes, Numbers]:
    """The rows' signatures, and where their normalised texts start in the file (one more than rows)."""
    signatures, lengths = [np.empty((0, HASHES), np.uint8)], [np.empty(0, np.int64)]
    for batch in texts:
        folded = pl.select(normal(pl.lit(batch).cast(pl.String)).fill_null("").alias(ROW))[ROW]
        sizes = folded.str.len_bytes().to_numpy().astype(np.int64)
        for rows in _portions(sizes):
            data = folded[rows].str.join("")[0].encode()
            file.write(data)
            signatures.append(_signatures(data, sizes[rows], seed))
        lengths.append(sizes)
    file.flush()
    return np.concatenate(signatures), np.concatenate(([0], np.cumsum(np.concatenate(lengths))))


def _portions(sizes: Numbers) -> Iterator[slice]:
    """Neighbours of about a megabyte together: what follows works in the processor's cache."""
    cuts = np.flatnonzero(np.diff(np.cumsum(sizes) // BYTES)) + 1
    yield from (slice(start, end) for start, end in pairwise([0, *cuts.tolist(), len(sizes)]) if end)


def shingles(data: bytes, sizes: Numbers) -> NDArray[np.uint64]:
    """A number for each window of the texts that lie in `data` one after the other, as many as bytes.

    The last four windows of a text are shorter. Different windows have different numbers: no text has a NUL byte.
    """
    found = np.ndarray((len(data),), "<u8", data + bytes(8), strides=(1,)) & np.uint64((1 << 8 * WINDOW) - 1)
    ends = np.cumsum(sizes)
    for left in range(1, WINDOW):
        found[ends[sizes >= left] - left] &= np.uint64((1 << 8 * left) - 1)
    return found


def _signatures(data: bytes, sizes: Numbers, seed: int) -> Bytes:
    """80 MinHash values of each text, a byte of each: unequal values share it once in 256, which verification mends."""
    hashes = shingles(data, sizes) * _MIX
    hashes ^= hashes >> np.uint64(32)
    ends = np.concatenate(([0], np.cumsum(sizes))).astype(np.uint64)
    sketch = need("rensa", "dedup").RMinHash.digest_matrix_from_flat_token_hashes(hashes, ends, HASHES, seed)
    values = np.fromiter(chain.from_iterable(sketch.to_rows()), np.uint32, len(sizes) * HASHES)
    return ((values * np.uint32(0x9E3779B1)) >> np.uint32(24)).astype(np.uint8).reshape(-1, HASHES)


# Candidates


def _order(taking_part: NDArray[np.bool_], fixed_rows: int, priority: pl.Series | None) -> Numbers:
    rows = np.arange(len(taking_part))
    rank = rows if priority is None else priority.to_numpy()
    order: Numbers = np.lexsort((np.where(rows < fixed_rows, 0, rank), rows >= fixed_rows))
    return order[taking_part[order]]


def _hopeful(signatures: Bytes, pairs: Numbers, threshold: float) -> NDArray[np.bool_]:
    """Pairs of rows whose signatures leave a chance: 1 in 700 pairs that are just at the threshold is lost."""
    enough = HASHES * threshold - 3 * (HASHES * threshold * (1 - threshold)) ** 0.5  # less three standard deviations
    found = [np.empty(0, np.bool_)]
    for start in range(0, len(pairs), 1 << 16):
        one, other = pairs[start : start + (1 << 16)].T
        found.append((signatures[one] == signatures[other]).sum(axis=1) >= enough)
    return np.concatenate(found)


def _suspects(signatures: Bytes, threshold: float, order: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Rows that share a bucket, in order; and their buckets: place p has those from firsts[p] to firsts[p + 1]."""
    places, buckets = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    known, width = 0, band_rows(threshold)
    for band in range(HASHES // width):
        bytes_of = np.zeros((len(order), 8), np.uint8)
        bytes_of[:, :width] = signatures[order, band * width : (band + 1) * width]
        keys = bytes_of.view(np.uint64).ravel()
        shared = np.flatnonzero(pl.Series(keys).is_duplicated().to_numpy())
        shared = shared[np.argsort(keys[shared], kind="stable")]
        names, numbers, sizes = np.unique(keys[shared], return_inverse=True, return_counts=True)
        stay = sizes[numbers] > 2  # of the buckets of two, those by chance go before they cost memory
        stay[~stay] = np.repeat(_hopeful(signatures, order[shared[~stay]].reshape(-1, 2), threshold), 2)
        places, buckets, known = [*places, shared[stay]], [*buckets, numbers[stay] + known], known + len(names)
    place = np.concatenate(places)
    by_place = np.argsort(place, kind="stable")
    who, firsts = np.unique(place[by_place], return_index=True)
    return order[who], np.append(firsts, len(place)), np.concatenate(buckets)[by_place]


# Decisions, in order


class _Pool(NamedTuple):
    """The suspects by place, and what is decided: kept places by bucket; dropped ones with twin and similarity."""

    file: BinaryIO
    starts: Numbers  # where each row's text starts in the file
    signatures: Bytes
    rows: Numbers
    firsts: Numbers
    buckets: Numbers
    threshold: float
    kept: dict[int, list[int]]
    dropped: dict[int, tuple[int, float]]

    def buckets_of(self, place: int) -> list[int]:
        return cast(list[int], self.buckets[self.firsts[place] : self.firsts[place + 1]].tolist())

    def keep(self, places: Iterable[int]) -> None:
        for place in places:
            for bucket in self.buckets_of(place):
                members = self.kept.setdefault(bucket, [])
                if len(members) < BUCKET:
                    members.append(place)


def _settle(pool: _Pool, places: list[int]) -> None:
    """Decide a run of places: against what is kept, then among those that are left."""
    _decide(pool, _pairs(pool, places, pool.kept))
    left = [place for place in places if place not in pool.dropped]
    pairs = _pairs(pool, left, {}, grow=True)
    if len(pairs) > PAIRS:  # a crowd of look-alikes: what the first half keeps drops most of the other
        _settle(pool, left[: len(left) // 2])
        _settle(pool, left[len(left) // 2 :])
        return
    _decide(pool, pairs)
    pool.keep(place for place in left if place not in pool.dropped)


def _pairs(pool: _Pool, places: list[int], members: dict[int, list[int]], grow: bool = False) -> Numbers:
    """Pairs (place, earlier place) that share a bucket, in order. `grow` adds each place, until pairs are too many."""
    pairs: list[tuple[int, int]] = []
    for place in places:
        buckets = pool.buckets_of(place)
        pairs += [(place, twin) for twin in sorted({twin for b in buckets for twin in members.get(b, ())})]
        if grow:
            for bucket in buckets:
                members.setdefault(bucket, []).append(place)
            if len(pairs) > PAIRS:
                break
    return np.array(pairs, np.int64).reshape(-1, 2)


def _decide(pool: _Pool, pairs: Numbers) -> None:
    """Drop by those of the pairs that are similar in truth, in order; a place that is dropped itself drops none."""
    pairs = pairs[_hopeful(pool.signatures, pool.rows[pairs], pool.threshold)]
    jaccard = _jaccard(pool, pool.rows[pairs])
    for index in np.flatnonzero(jaccard >= pool.threshold):
        later, earlier = pairs[index].tolist()
        if later not in pool.dropped and earlier not in pool.dropped:
            pool.dropped[later] = earlier, float(jaccard[index])


def _jaccard(pool: _Pool, pairs: Numbers) -> NDArray[np.float64]:
    """The true similarity of each pair of rows."""
    all_sizes, found = np.diff(pool.starts)[pairs], [np.empty(0)]
    for some in _portions(all_sizes.sum(axis=1)):
        sizes, starts = all_sizes[some].ravel(), pool.starts[pairs[some]].ravel()
        places = zip(sizes.tolist(), starts.tolist(), strict=True)
        data = b"".join(os.pread(pool.file.fileno(), size, start) for size, start in places)
        side = np.repeat(np.arange(len(sizes), dtype=np.uint64), sizes)
        # Sorted by pair, window, side: each window once a side, so a window of both sides has itself as neighbour.
        one, place_of = np.uint64(1), np.uint64(8 * WINDOW + 1)
        tagged = (side >> one << place_of) | (shingles(data, sizes) << one) | (side & one)
        tagged.sort()
        tagged = tagged[np.append(True, tagged[1:] != tagged[:-1])]
        both = tagged[1:][tagged[1:] >> one == tagged[:-1] >> one]
        pair, shared = ((numbers >> place_of).astype(np.int64) for numbers in (tagged, both))
        common = np.bincount(shared, minlength=len(sizes) // 2)
        found.append(common / (np.bincount(pair) - common))
    return np.concatenate(found)
