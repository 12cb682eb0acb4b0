"""How many prompts each pool gives: by weight, by count, within caps. Which ones is the seeded rank's business.

pools:
  - {name: chat, path: chat.jsonl, weight: 2.0, max_share: 0.35}
  - {name: maths, path: maths/*.jsonl.gz, count: 5000}
  - {name: code, path: code.parquet, max_count: 20000}
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

from deltadata.errors import UserError
from deltadata.sections import Pool


class Taken(NamedTuple):
    """Of one pool: what was asked (null: all there is), what there was, what is taken."""

    asked: int | None
    available: int
    taken: int


def mix(pools: Sequence[Pool], available: Sequence[int], limit: int | None) -> list[Taken]:
    """What each pool gives. A `count` comes first; the rest of `limit` goes to the others by weight.

    No pool gives more than it has, than `max_count`, or than `max_share` of all that is taken: what a cap holds back
    goes to the others where there is a limit to fill. Raises UserError when the shares leave nothing.
    """
    caps = [_cap(pool, n) for pool, n in zip(pools, available, strict=True)]
    takes = _filled(pools, _held(pools, caps, limit), limit)
    if sum(caps) and not sum(takes):
        cure = "raise one of them, or add a pool: together they must leave room for all that is taken"
        raise UserError("the pools' max_share leave nothing to take", where="collect.pools", cure=cure)
    asked = _asked(pools, limit)
    return [Taken(*three) for three in zip(asked, available, takes, strict=True)]


def _cap(pool: Pool, available: int) -> int:
    return min(n for n in (available, pool.max_count, pool.count) if n is not None)


def _held(pools: Sequence[Pool], caps: Sequence[int], limit: int | None) -> list[int]:
    """The caps with each `max_share` in numbers, for the largest total that they leave possible."""
    total = _total(caps, limit)
    while True:
        held = [min(cap, int(pool.max_share * total * (1 + 1e-12))) for pool, cap in zip(pools, caps, strict=True)]
        if _total(held, limit) == total:
            return held
        total = _total(held, limit)


def _total(caps: Sequence[int], limit: int | None) -> int:
    return sum(caps) if limit is None else min(sum(caps), limit)


def _filled(pools: Sequence[Pool], caps: Sequence[int], limit: int | None) -> list[int]:
    if limit is None:
        return list(caps)
    counted = [cap if pool.count is not None else 0 for pool, cap in zip(pools, caps, strict=True)]
    first = shares(limit, [1.0] * len(pools), counted)
    free = [0 if pool.count is not None else cap for pool, cap in zip(pools, caps, strict=True)]
    rest = shares(limit - sum(first), [pool.weight for pool in pools], free)
    return [a + b for a, b in zip(first, rest, strict=True)]


def _asked(pools: Sequence[Pool], limit: int | None) -> list[int | None]:
    """The `count` of a pool that has one; of the others what their weights alone would give, were there enough."""
    if limit is None:
        return [pool.count for pool in pools]
    given = _filled(pools, [limit if pool.count is None else min(pool.count, limit) for pool in pools], limit)
    return [share if pool.count is None else pool.count for pool, share in zip(pools, given, strict=True)]


def shares(limit: int, weights: Sequence[float], available: Sequence[int]) -> list[int]:
    """How many of `limit` rows each pool gives: by weight, never more than it has, the rest going to the others.

    One row after the other goes to the pool that is furthest below its weight (Sainte-Laguë). For two pools that is the
    largest remainder; for more, the largest remainder can take a row away from a pool when the limit grows.
    """
    taken = [0] * len(weights)
    queue = [(0.5 / weight, i) for i, weight in enumerate(weights) if available[i]]
    heapq.heapify(queue)
    for _ in range(min(limit, sum(available))):
        _, i = heapq.heappop(queue)
        taken[i] += 1
        if taken[i] < available[i]:
            heapq.heappush(queue, ((taken[i] + 0.5) / weights[i], i))
    return taken
