"""N-grams of words as stable 64-bit numbers, and packs: the n-grams of an evaluation set without its text.

    python -c "from deltadata.ngrams import *; print(build('mine', ['an evaluation item']).grams)"

A word is a run of letters, marks and digits of the text in NFKC and lower case; a character of a script without spaces
between words is one by itself. The hash, all of it modulo 2**64, is fixed here so that packs can be shared:

    letter[b] = mix(b + 1), mix being splitmix64's finaliser            for a byte b of the word in UTF-8
    word      = sum of letter[byte j] * PLACE**j
    n-gram    = n, then for each word h = (h xor word) * STEP, h = h xor (h >> 32)

An n-gram is not invertible, and still no secret: who knows n words of an item can guess on from there, word by word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deltadata.errors import UserError

HASH = "deltadata-1"
SIZES = (8, 13)  # what Tulu 3 looked at, and GPT-3
SLICE_BYTES = 1 << 20  # of text at a time: the working arrays are some thirty times as large

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

_BITS = (10, 27)  # of the table of first looks: a byte for each value of the hash's first bits
_PLACE, _STEP = 0xD1342543DE82EF95, 0x9E3779B97F4A7C15

# Invisible characters (soft hyphens, joiners, direction marks) and variants of glyphs: no part of a word.
_INVISIBLE = r"[\p{Cf}\x{FE00}-\x{FE0F}]+"
_WORD_BY_ITSELF = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*"


def words(text: pl.Expr) -> pl.Expr:
    """The text's words as a list; null stays null."""
    return spaced(text).str.extract_all("[^ ]+")


def spaced(text: pl.Expr) -> pl.Expr:
    """The text's words with spaces between, and perhaps more than one."""
    return pl.coalesce(_beyond_ascii(text), text.str.to_lowercase().str.replace_all("[^0-9a-z ]+", " "))


def _beyond_ascii(text: pl.Expr) -> pl.Expr:
    """The text's words with spaces between where it has characters beyond ASCII; null elsewhere."""
    # Null is skipped: most texts are spared the work, of which NFKC (no change to ASCII) is the larger part.
    some = pl.when(text.str.len_bytes() != text.str.len_chars()).then(text)
    composed = some.str.replace_all(_INVISIBLE, "").str.normalize("NFKC").str.to_lowercase()
    return composed.str.replace_all(_WORD_BY_ITSELF, " $0 ").str.replace_all(r"[^\p{L}\p{M}\p{N} ]+", " ")


def _letters() -> Hashes:
    mask, found = (1 << 64) - 1, []
    for byte in range(256):
        x = byte + 1
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & mask
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & mask
        found.append(x ^ (x >> 31))
    return np.array(found, np.uint64)


def _of_bytes() -> Hashes:
    """What each byte of a text counts as: ASCII letters as their lower case, other ASCII but digits as spaces, 0."""
    of = _letters()
    of[ord("A") : ord("Z") + 1] = of[ord("a") : ord("z") + 1]
    of[[byte for byte in range(128) if not chr(byte).isalnum()]] = 0
    return of


_OF_BYTES = _of_bytes()


class Hashed(NamedTuple):
    """Texts as numbers: the hash of every word, and where each text begins (one more edge than texts)."""

    words: Hashes
    edges: Places

    @property
    def counts(self) -> Places:
        return np.diff(self.edges)

    def starts(self, length: int) -> NDArray[np.bool_]:
        """Whether an n-gram of that length begins at a word and ends in the same text."""
        positions = np.arange(max(len(self.words) - length + 1, 0))
        return np.repeat(self.edges[1:], self.counts)[: len(positions)] >= positions + length

    def grams(self, length: int) -> Hashes:
        """The hash of the n-gram that begins at each word, text's end or not."""
        found = np.full(max(len(self.words) - length + 1, 0), length, np.uint64)
        for k in range(length):
            found ^= self.words[k : k + len(found)]
            found *= np.uint64(_STEP)
            found ^= found >> np.uint64(32)
        return found


def hashed(texts: pl.Series) -> Hashed:
    """The words of texts. Null has none."""
    text = pl.col("text")
    clean = texts.rename("text").to_frame().select(pl.coalesce(_beyond_ascii(text), text, pl.lit(""))).to_series()
    arrow = clean.rechunk().to_arrow()
    _, offsets, data = arrow.buffers()
    edges = np.frombuffer(offsets, np.int64)[arrow.offset : arrow.offset + len(arrow) + 1] if len(arrow) else _NONE
    letters = np.frombuffer(data, np.uint8)[edges[0] : edges[-1]] if edges[-1] > edges[0] else np.zeros(0, np.uint8)
    edges = edges - edges[0]
    numbers = _OF_BYTES[letters]
    part = numbers != 0
    begins = part.copy()
    begins[1:] &= ~part[:-1]
    inner = edges[:-1][edges[:-1] < len(letters)]
    begins[inner] = part[inner]  # no space between one text and the next
    at = np.flatnonzero(begins)
    # A running sum: the difference of two is a word times PLACE to the power of where it begins, spaces being 0.
    power, inverse = _powers(len(letters))
    numbers *= power
    total = np.zeros(len(letters) + 1, np.uint64)
    np.cumsum(numbers, out=total[1:])
    found = np.diff(total[np.append(at, len(letters))]) * inverse[at]
    return Hashed(found, np.searchsorted(at, edges))


_NONE = np.zeros(1, np.int64)


def _powers(count: int) -> tuple[Hashes, Hashes]:
    """PLACE**j and PLACE**-j for j below `count`, kept for texts of usual size."""
    if count > len(_kept[0]):
        fresh = []
        for base in (_PLACE, pow(_PLACE, -1, 1 << 64)):
            powers = np.full(max(count, 2 * SLICE_BYTES), base, np.uint64)
            powers[0] = 1
            fresh.append(np.multiply.accumulate(powers))
        if count > 2 * SLICE_BYTES:
            return fresh[0], fresh[1]
        _kept[:] = fresh
    return _kept[0][:count], _kept[1][:count]


_kept: list[Hashes] = [np.zeros(0, np.uint64), np.zeros(0, np.uint64)]


class Grams(NamedTuple):
    """N-grams of one length, sorted by hash, and the place of each: words of the pack before it, item after item."""

    hashes: Hashes
    at: NDArray[np.uint32]


class Pack(NamedTuple):
    """An evaluation set without its text. `grams` by length: all n-grams of the sizes, and, of the lengths below the
    largest size, items that have just that many words, whole."""

    name: str
    sizes: tuple[int, ...]
    words: NDArray[np.uint32]  # of each item
    grams: dict[int, Grams]
    sources: list[dict[str, Any]]

    def edges(self) -> Places:
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.words, dtype=np.int64)])

    def of_size(self, size: int) -> dict[int, Grams]:
        """What is looked for: n-grams of `size` by their length, and shorter items whole. Raises UserError."""
        if size not in self.sizes:
            known = ", ".join(map(str, self.sizes))
            cure = f"take one of {known}, or build the pack again with that size"
            raise UserError(f"the pack has no n-grams of {size} words", where=self.name, cure=cure)
        edges, found = self.edges(), {}
        for length, grams in self.grams.items():
            if length < size:
                whole = self.words[item_at(edges, grams.at)] == length
                grams = Grams(grams.hashes[whole], grams.at[whole])
            if length <= size and len(grams.at):
                found[length] = grams
        return found


def item_at(edges: Places, at: NDArray[Any]) -> Places:
    """The item that holds each place. Items without words hold none."""
    return np.searchsorted(edges, at, side="right") - 1


def build(
    name: str, texts: Iterable[str | None], sizes: Sequence[int] = SIZES, sources: Sequence[dict[str, Any]] = ()
) -> Pack:
    """The pack of an evaluation set, one text an item; a null, or a text without words, is an item nothing hits."""
    held: list[Hashed] = [hashed(part) for part in _chunks(texts)]
    edges = np.cumsum(np.concatenate([np.zeros(1, np.int64), *(part.counts for part in held)]))
    every = Hashed(np.concatenate([np.zeros(0, np.uint64), *(part.words for part in held)]), edges)
    if len(every.words) >= 1 << 32:
        raise UserError("more than four thousand million words", where=name, cure="build several packs")
    grams = {}
    for length in range(1, max(sizes) + 1):
        found = every.starts(length)
        if length not in sizes:
            found &= np.repeat(every.counts, every.counts)[: len(found)] == length
        at = np.flatnonzero(found)
        hashes = every.grams(length)[at]
        order = np.argsort(hashes, kind="stable")
        if length in sizes or len(at):
            grams[length] = Grams(hashes[order], at[order].astype(np.uint32))
    return Pack(name, tuple(sorted(sizes)), every.counts.astype(np.uint32), grams, list(sources))


def _chunks(texts: Iterable[str | None], rows: int = 4096) -> Iterator[pl.Series]:
    held: list[str | None] = []
    for text in texts:
        held.append(text)
        if len(held) == rows:
            yield pl.Series(held, dtype=pl.String)
            held = []
    if held:
        yield pl.Series(held, dtype=pl.String)


class Known(NamedTuple):
    """All hashes of one length, with a table that says no to most others at the price of one access."""

    hashes: Hashes
    table: NDArray[np.bool_]
    shift: np.uint64

    def has(self, asked: Hashes) -> Places:
        """Where the asked hashes are among ours."""
        maybe = np.flatnonzero(self.table[asked >> self.shift])
        wanted = asked[maybe]
        order = np.argsort(wanted)  # neighbours are searched for in less than half of the time
        wanted = wanted[order]
        near = np.searchsorted(self.hashes, wanted).clip(max=len(self.hashes) - 1)
        return np.sort(maybe[order[self.hashes[near] == wanted]])


def known(several: Sequence[Hashes]) -> Known:
    """The hashes of several packs as one table."""
    hashes = np.sort(np.concatenate(several))
    hashes = hashes[np.concatenate([[True], hashes[1:] != hashes[:-1]])]  # np.unique takes ten times as long
    bits = min(max(len(hashes).bit_length() + 4, _BITS[0]), _BITS[1])
    shift = np.uint64(64 - bits)
    table = np.zeros(1 << bits, np.bool_)
    table[hashes >> shift] = True
    return Known(hashes, table, shift)
