"""How many prompts each pool gives, and that another pool moves no choice: the promises of mix.py.

pytest tests/test_mix.py
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deltadata import tables
from deltadata.collect import collected, told
from deltadata.errors import UserError
from deltadata.mix import Taken, mix
from deltadata.recipe import Recipe
from deltadata.sections import Pool


def pool(**how: Any) -> Pool:
    return Pool(name="p", path="p.jsonl", **how)


def takes(pools: list[Pool], available: list[int], limit: int | None = None) -> list[int]:
    return [taken.taken for taken in mix(pools, available, limit)]


@pytest.mark.parametrize(
    ("pools", "available", "limit", "expected"),
    [
        ([{}, {}], [3, 4], None, [3, 4]),
        ([{}, {}], [3, 4], 100, [3, 4]),
        ([{"weight": 2.0}, {}], [50, 50], 9, [6, 3]),
        ([{"weight": 2.0}, {}], [4, 50], 9, [4, 5]),
        ([{"count": 5}, {}], [50, 50], None, [5, 50]),
        ([{"count": 5}, {"weight": 9.0}], [50, 50], 9, [5, 4]),
        ([{"count": 5}, {}], [3, 50], 9, [3, 6]),
        ([{"count": 5}, {"count": 5}], [50, 50], 6, [3, 3]),
        ([{"count": 5}, {"count": 1}, {}], [50, 50, 50], 6, [5, 1, 0]),
        ([{"count": 0}, {}], [50, 50], None, [0, 50]),
        ([{"count": 7, "max_count": 2}, {}], [50, 50], None, [2, 50]),
        ([{"max_count": 2}, {}], [50, 50], None, [2, 50]),
        ([{"max_count": 2}, {}], [50, 50], 10, [2, 8]),
        ([{"max_count": 0}, {}], [50, 50], None, [0, 50]),
        ([{"max_count": 0}, {}], [50, 50], 10, [0, 10]),
        ([{"max_share": 0.35}, {}], [1000, 65], None, [35, 65]),
        ([{"max_share": 0.35}, {}], [1000, 1000], 100, [35, 65]),
        ([{"max_share": 0.35, "weight": 0.25}, {}], [1000, 1000], 100, [20, 80]),
        ([{"max_share": 0.35}, {}], [1000, 13], 100, [7, 13]),
        ([{"max_share": 0.35, "weight": 2.0}, {"max_share": 0.35, "weight": 2.0}, {}], [99, 99, 99], 100, [35, 35, 30]),
        ([{"max_share": 0.35}, {"max_share": 0.65}], [100, 100], None, [49, 91]),
        ([{"max_share": 0.29, "count": 90}, {}], [100, 100], 100, [29, 71]),
        ([{"max_share": 0.5, "max_count": 3}, {}], [9, 9], None, [3, 9]),
        ([{}, {}], [0, 0], 5, [0, 0]),
    ],
)
def test_takes_by_hand(
    pools: list[dict[str, Any]], available: list[int], limit: int | None, expected: list[int]
) -> None:
    """Counts first, weights for the rest; caps and shares hold, and what they hold back goes to the others."""
    assert takes([pool(**how) for how in pools], available, limit) == expected


def test_what_was_asked() -> None:
    """Of the table: the count, whatever the limit, or what weights would give of endless pools; null where all there is
    was asked for."""
    pools = [pool(count=4), pool(weight=3.0), pool(max_count=1)]
    assert mix(pools, [9, 2, 9], None) == [Taken(4, 9, 4), Taken(None, 2, 2), Taken(None, 9, 1)]
    assert mix(pools, [9, 2, 9], 12) == [Taken(4, 9, 4), Taken(6, 2, 2), Taken(2, 9, 1)]
    counted = [pool(count=30), pool(count=50), pool()]
    assert mix(counted, [99, 99, 99], 40) == [Taken(30, 99, 20), Taken(50, 99, 20), Taken(0, 99, 0)]


@pytest.mark.parametrize("shares", [[0.35], [0.35, 0.35], [0.3, 0.3, 0.39]])
def test_shares_that_leave_nothing_are_refused(shares: list[float]) -> None:
    """Pools that all are held to less than the whole, together too, have no mixture: said, not an empty table."""
    with pytest.raises(UserError, match="max_share"):
        takes([pool(max_share=share) for share in shares], [100] * len(shares))


POOLS = st.lists(
    st.tuples(
        st.fixed_dictionaries(
            {"weight": st.floats(0.01, 100)},
            optional={
                "count": st.integers(0, 30),
                "max_count": st.integers(0, 30),
                "max_share": st.sampled_from([0.1, 0.29, 0.35, 0.5, 0.9]),
            },
        ),
        st.integers(0, 60),
    ),
    min_size=1,
    max_size=5,
)
LIMIT = st.integers(1, 150) | st.none()


def caps(pools: list[tuple[dict[str, Any], int]]) -> list[int]:
    return [min(n, how.get("count", n), how.get("max_count", n)) for how, n in pools]


def greatest(pools: list[tuple[dict[str, Any], int]], limit: int | None) -> int:
    """The largest total T that can be made up of what each pool may give to it, by trying them all."""
    top = sum(caps(pools)) if limit is None else min(limit, sum(caps(pools)))
    for total in range(top, 0, -1):
        if sum(min(cap, round(how.get("max_share", 1) * 100) * total // 100)
               for cap, (how, _) in zip(caps(pools), pools, strict=True)) >= total:  # fmt: skip
            return total
    return 0


@given(POOLS, LIMIT)
def test_caps_hold_and_nothing_is_wasted(pools: list[tuple[dict[str, Any], int]], limit: int | None) -> None:
    """No pool gives more than it has, its count, its cap or its share; together they give the most that is possible."""
    possible = greatest(pools, limit)
    models, available = [pool(**how) for how, _ in pools], [n for _, n in pools]
    if not possible and sum(caps(pools)):
        with pytest.raises(UserError):
            takes(models, available, limit)
        return
    got = takes(models, available, limit)
    assert sum(got) == possible
    for taken, cap, (how, _) in zip(got, caps(pools), pools, strict=True):
        assert 0 <= taken <= cap
        assert 100 * taken <= round(how.get("max_share", 1) * 100) * sum(got)


@given(POOLS, LIMIT, st.floats(0.01, 100), st.integers(0, 60))
def test_another_pool_gives_no_pool_more(
    pools: list[tuple[dict[str, Any], int]], limit: int | None, weight: float, more: int
) -> None:
    """Without shares, which grow with the whole, a pool with a weight takes from the others and adds to none."""
    models = [pool(**{k: v for k, v in how.items() if k != "max_share"}) for how, _ in pools]
    available = [n for _, n in pools]
    before = takes(models, available, limit)
    after = takes([*models, pool(weight=weight)], [*available, more], limit)
    assert all(a <= b for a, b in zip(after, before, strict=False))


@given(POOLS, st.integers(1, 150), st.sampled_from([0.1, 0.35, 0.5]))
def test_a_higher_limit_takes_from_none(pools: list[tuple[dict[str, Any], int]], limit: int, share: float) -> None:
    """One more prompt takes none away, with one pool under a share as well."""
    models = [pool(**{k: v for k, v in how.items() if k != "max_share"}) for how, _ in pools]
    models[0] = models[0].model_copy(update={"max_share": share if len(models) > 1 else 1.0})
    available = [n for _, n in pools]
    available[-1] += 200
    models[-1] = models[-1].model_copy(update={"max_count": None, "count": None})
    low, high = takes(models, available, limit), takes(models, available, limit + 1)
    assert all(a <= b for a, b in zip(low, high, strict=True))


# Through collect

folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)


def recipe(
    tmp_path: Path, pools: dict[str, list[str | None]], how: dict[str, dict[str, Any]], **section: Any
) -> Recipe:
    for name, prompts in pools.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts))
    written = [{"name": name, "path": f"{name}.jsonl"} | how.get(name, {}) for name in pools]
    return Recipe.model_validate(
        {
            "name": "t",
            "collect": {"pools": written, "max_bad": 1.0} | section,
            "generate": {"rungs": [{"name": "m", "model": "m"}]},
        }
    )


def by_pool(recipe: Recipe, tmp_path: Path) -> dict[str, set[str]]:
    """The texts that are taken of each pool."""
    found: dict[str, set[str]] = {pool.name: set() for pool in recipe.collect.pools}
    with tempfile.TemporaryDirectory() as scratch, collected(recipe, tmp_path, Path(scratch)) as got:
        for table in got.taken():
            for row in table.to_pylist():
                found[row["pool"]].add(row["prompt"][-1]["content"])
    return found


def ranked(texts: list[str]) -> list[str]:
    ids = {text: tables.prompt_id([{"role": "user", "content": text}]) for text in texts}
    return sorted(texts, key=lambda text: tables.rank(0, ids[text]))


SIZES = st.tuples(st.integers(1, 25), st.integers(1, 25), st.integers(1, 25))


@folder
@given(SIZES, st.integers(1, 40) | st.none(), st.integers(0, 10), st.floats(0.1, 9))
def test_another_pool_reshuffles_nothing(
    tmp_path: Path, sizes: tuple[int, int, int], limit: int | None, count: int, weight: float
) -> None:
    """What is taken of a pool are its first prompts by rank, so one more pool makes it fewer and never others."""
    names = ["one", "two", "three"]
    pools: dict[str, list[str | None]] = {
        name: [f"{name} {i}" for i in range(n)] for name, n in zip(names, sizes, strict=True)
    }
    how = {"one": {"count": count}, "three": {"weight": weight}}
    section = {"limit": limit} if limit else {}
    alone = by_pool(recipe(tmp_path, {name: pools[name] for name in names[:2]}, how, **section), tmp_path)
    beside = by_pool(recipe(tmp_path, pools, how, **section), tmp_path)
    for name, taken in beside.items():
        prompts = [text for text in pools[name] if text]
        assert taken == set(ranked(prompts)[: len(taken)])
    for name, taken in alone.items():
        assert beside[name] <= taken


@folder
@given(st.lists(st.integers(-4, 12), min_size=1, max_size=30), st.integers(1, 9) | st.none(), st.integers(0, 9))
def test_the_table_of_pools_adds_up(tmp_path: Path, numbers: list[int], limit: int | None, cap: int) -> None:
    """read = bad + every reason + taken, for each pool; a reason that nobody had is not in the table."""
    rows = [f"word {n}" if n >= 0 else None for n in [*numbers, 20]]
    asked = recipe(
        tmp_path, {"a": rows, "b": [*rows, "two words more"]}, {"a": {"max_count": cap + 1}},
        rules=[{"max_words": 2}], dedup="normalised", **{"limit": limit} if limit else {},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch, collected(asked, tmp_path, Path(scratch)) as got:
        verdicts = Counter(got.verdicts.select("pool", "dropped_by").iter_rows())
        for table in got.pools:
            name = table["name"]
            assert table["read"] == table["bad"] + sum(table["dropped"].values()) + table["taken"]
            assert table["dropped"] == {r: n for (p, r), n in verdicts.items() if p == name and r is not None}
            assert table["taken"] == verdicts[name, None]
            words = told(table)
            parts = [n for what, n in words.items() if what not in ("read", "asked")]
            assert words["read"] == sum(parts)


def test_the_table_by_hand(tmp_path: Path) -> None:
    """What is told of two pools, in order."""
    asked = recipe(tmp_path, {"a": ["x", "y", None, "x"], "b": ["y", "z", "v", "w"]}, {"b": {"weight": 3.0}}, limit=4)
    with tempfile.TemporaryDirectory() as scratch, collected(asked, tmp_path, Path(scratch)) as got:
        assert got.pools == [
            {"name": "a", "path": "a.jsonl", "read": 4, "bad": 1, "asked": 1, "dropped": {"duplicate": 1,
             "not_sampled": 1}, "taken": 1},
            {"name": "b", "path": "b.jsonl", "read": 4, "bad": 0, "asked": 3, "dropped": {"duplicate": 1}, "taken": 3},
        ]  # fmt: skip
        assert list(told(got.pools[1]).items()) == [
            ("read", 4), ("bad", 0), ("duplicate", 1), ("not sampled", 0), ("asked", 3), ("taken", 3),
        ]  # fmt: skip
