"""Prompt pools become the prompts table: the promises of rows.py and collect.py.

pytest tests/test_collect.py
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import client_env, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deltadata import rows as rows_module
from deltadata import spool as spool_module
from deltadata import tables
from deltadata.collect import collected
from deltadata.errors import UserError
from deltadata.mix import shares
from deltadata.recipe import Recipe
from deltadata.rows import digest, read_rows, resolve

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"


def recipe(*pools: dict[str, Any], seed: int = 0, **section: Any) -> Recipe:
    """A recipe that differs from the default only in its pools and `collect:` keys."""
    named = [{"name": f"pool{i}"} | pool for i, pool in enumerate(pools)]
    generate = {"rungs": [{"name": "m", "model": "m"}]}
    return Recipe.model_validate(
        {"name": "test", "seed": seed, "collect": {"pools": named} | section, "generate": generate}
    )


def write(path: Path, rows: list[Any]) -> str:
    """The rows in the format of the path's ending; a str or bytes row of a .jsonl goes in as it is."""
    if path.suffix == ".jsonl":
        lines = [row if isinstance(row, str | bytes) else json.dumps(row) for row in rows]
        path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    else:
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return str(path)


def pool(path: Path, rows: list[Any], **section: Any) -> Collected:
    """What is collected from one pool of these rows."""
    return collect(recipe({"path": write(path, rows)}, **section), path.parent)


class Collected(NamedTuple):
    """What was collected, its spool gone."""

    prompts: pa.Table
    pools: list[dict[str, Any]]
    bad: list[dict[str, str]]


def collect(recipe: Recipe, folder: Path) -> Collected:
    """The prompts and the counts: read = bad + duplicate + not_sampled + taken."""
    with tempfile.TemporaryDirectory() as scratch, collected(recipe, folder, Path(scratch)) as found:
        prompts = pa.concat_tables([tables.PROMPTS.schema.empty_table(), *found.taken()])
        pools = [
            {name: pool[name] for name in ("name", "path", "read", "bad")}
            | {reason: pool["dropped"].get(reason, 0) for reason in ("duplicate", "not_sampled")}
            | {"taken": pool["taken"]}
            for pool in found.pools
        ]
        return Collected(prompts, pools, found.bad)


def texts(collected: Collected) -> list[str]:
    """The last turn of every prompt."""
    return [row["prompt"][-1]["content"] for row in collected.prompts.to_pylist()]


def numbered(*numbers: int) -> list[dict[str, str]]:
    return [{"prompt": f"p{n}"} for n in numbers]


def test_a_prompt_keeps_its_text_and_gets_the_id_of_its_messages(tmp_path: Path) -> None:
    """Text and order of turns are kept as they are; messages lose every key but role and content."""
    turns = [
        {"role": "system", "content": "Be brief.", "name": "x"},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Name a colour.", "tool_calls": None},
    ]
    path = write(
        tmp_path / "a.jsonl", [{"ask": "  Grüße\n", "tag": "ü", "n": 1, "other": 2}, {"ask": turns, "tag": None}]
    )
    got = collect(recipe({"path": path, "prompt": "ask", "keep": ["tag", "n"]}), tmp_path)
    canonical = '[["user","  Grüße\\n"]]'
    assert got.prompts.schema == tables.PROMPTS.schema
    assert got.prompts.to_pylist() == [
        {
            "prompt_id": hashlib.sha256(canonical.encode()).hexdigest()[:16],
            "prompt": [{"role": "user", "content": "  Grüße\n"}],
            "pool": "pool0",
            "meta": '{"n":1,"tag":"ü"}',
        },
        {
            "prompt_id": tables.prompt_id(turns),  # type: ignore[arg-type]
            "prompt": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello"},
                {"role": "user", "content": "Name a colour."},
            ],
            "pool": "pool0",
            "meta": '{"tag":null}',
        },
    ]
    assert got.pools == [
        {"name": "pool0", "path": path, "read": 2, "bad": 0, "duplicate": 0, "not_sampled": 0, "taken": 2}
    ]
    assert got.bad == []


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".parquet"])
def test_every_format_gives_the_same_prompts(tmp_path: Path, ending: str) -> None:
    """The four kinds of file are one pool; nothing kept is a null meta."""
    rows = [{"x": "1", "prompt": 'a "quoted"\n\nline, with commas'}, {"x": "2", "prompt": "日本 🎈"}]
    got = pool(tmp_path / f"a{ending}", rows)
    assert texts(got) == ['a "quoted"\n\nline, with commas', "日本 🎈"]
    assert got.prompts["meta"].null_count == 2


def test_json_may_hold_its_rows_one_level_down(tmp_path: Path) -> None:
    """An object with exactly one list is that list; with two or none it is refused."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"version": 1, "data": [{"prompt": "a"}, 3]}))
    assert [(row.where, row.value, row.problem) for row in read_rows(str(path), tmp_path)] == [
        (f"{path}: row 1", {"prompt": "a"}, None),
        (f"{path}: row 2", None, "not an object but of type int"),
    ]
    for tree, said in (
        ({"a": [], "b": []}, "2 lists (a, b)"),
        ({"a": 1}, "without a list"),
        ("x", "a lone str"),
    ):
        path.write_text(json.dumps(tree))
        with pytest.raises(UserError) as caught:
            list(read_rows(str(path), tmp_path))
        assert said in caught.value.what


def test_meta_is_json_whatever_the_column_holds(tmp_path: Path) -> None:
    """NaN, which pandas writes for null, is null; dates become text; a struct stays a struct."""
    import datetime

    rows = [{"prompt": "a", "x": float("nan"), "when": datetime.date(2025, 7, 1), "check": {"b": [1], "a": None}}]
    path = write(tmp_path / "a.parquet", rows)
    got = collect(recipe({"path": path, "keep": ["x", "when", "check"]}), tmp_path)
    assert got.prompts["meta"].to_pylist() == ['{"check":{"a":null,"b":[1]},"when":"2025-07-01","x":null}']


USER_TURN = {"role": "user", "content": "hi"}
BAD = {
    "null": (None, "prompt is null"),
    "number": (7, "prompt is neither text nor a list of messages but of type int"),
    "blank": (" \n\t\u2003", "prompt has no text"),
    "no messages": ([], "prompt has no messages"),
    "strings": (["hi", "and?"], "prompt[0] is no message of role and content but of type str"),
    "role": (
        [{"role": "tool", "content": "x"}],
        "prompt[0] is a turn of tool; a prompt has turns of system, user, assistant only",
    ),
    "no role": ([{"content": "x"}], "prompt[0] has the role None; known are system, user, assistant, developer"),
    "null content": ([USER_TURN, {"role": "user", "content": None}], "prompt[1].content is null"),
    "content list": (
        [{"role": "user", "content": [{"type": "text"}]}],
        "prompt[0].content[0].text is null",
    ),
    "blank content": ([{"role": "system", "content": ""}, USER_TURN], "prompt[0].content has no text"),
    "answered": (
        [USER_TURN, {"role": "assistant", "content": "x"}],
        "prompt ends with a turn of assistant, not of user; `take: history` cuts it off",
    ),
    "surrogate": ("a\ud800b", "prompt holds what UTF-8 cannot (half of a surrogate pair, or broken bytes)"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_is_set_aside_with_its_reason(tmp_path: Path, case: str) -> None:
    """A row that is no prompt is named with its line and why, can be written as UTF-8, and spoils no other row."""
    value, why = BAD[case]
    got = pool(tmp_path / "a.jsonl", [{"prompt": "before"}, {"prompt": value}, {"prompt": "after"}])
    assert texts(got) == ["before", "after"]
    assert [(row["where"], row["why"]) for row in got.bad] == [(f"{tmp_path}/a.jsonl:2", why)]
    assert got.bad[0]["row"].encode()
    assert got.pools[0]["bad"] == 1


@pytest.mark.parametrize(
    ("line", "why", "raw"),
    [
        ('{"prompt": "x"', "not JSON: Expecting ',' delimiter at column 15", '{"prompt": "x"'),
        ("[1]", "not an object but of type list", "[1]"),
        (b'{"prompt": "\xff"}', "not JSON: 'utf-8' codec can't decode byte 0xff in position 12: invalid start byte",
         '{"prompt": "\ufffd"}'),
        ("[" * 100_000, "not JSON: ", "[" * 1000),
        ('{"other": 1}', "no column 'prompt'", '{"other": 1}'),
    ],
    ids=["syntax", "list", "latin1", "deep", "no column"],
)  # fmt: skip
def test_a_broken_line_is_a_bad_row(tmp_path: Path, line: str | bytes, why: str, raw: str) -> None:
    """A line that is no JSON object is set aside with its line number, blank lines counting as lines only."""
    got = pool(tmp_path / "a.jsonl", [b'\xef\xbb\xbf{"prompt": "first"}', "", line, {"prompt": "last"}])
    assert texts(got) == ["first", "last"]
    assert got.pools[0]["read"] == 3
    (bad,) = got.bad
    assert bad["where"] == f"{tmp_path}/a.jsonl:3"
    assert bad["why"].startswith(why)
    assert bad["row"] == raw


def test_a_csv_row_can_be_broken_alone(tmp_path: Path) -> None:
    """A row of too few cells, and one with bytes that are no UTF-8, are bad; the others are read, huge cells too."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"prompt,x\na,1\nb\nc\xff,1\n\n" + b"d" * 200_000 + b",1\n")
    got = collect(recipe({"path": str(path)}), tmp_path)
    assert texts(got) == ["a", "d" * 200_000]
    assert [(row["where"], row["why"]) for row in got.bad] == [
        (f"{path}: row 2", "1 cells where the header has 2"),
        (f"{path}: row 3", "prompt holds what UTF-8 cannot (half of a surrogate pair, or broken bytes)"),
    ]


def test_a_parquet_row_can_be_broken_alone(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 in a text column spoil their row only."""
    column = pa.array([b"a", b"\xff", b"c"]).view(pa.string())
    pq.write_table(pa.table({"prompt": column}), tmp_path / "a.parquet")
    got = collect(recipe({"path": str(tmp_path / "a.parquet")}), tmp_path)
    assert texts(got) == ["a", "c"]
    assert [(row["where"], row["why"]) for row in got.bad] == [
        (f"{tmp_path}/a.parquet: row 2", "text that is not UTF-8")
    ]


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.date64()])
def test_a_date_that_python_does_not_have_is_a_bad_row(tmp_path: Path, kind: pa.DataType) -> None:
    """The year 300000 in a kept column spoils its own row only."""
    when = pa.array([0, 86_400 * 365 * 300_000 * (1 if kind == pa.timestamp("s") else 1000)], pa.int64()).cast(kind)
    pq.write_table(pa.table({"prompt": ["a", "b"], "when": when}), tmp_path / "a.parquet")
    got = collect(recipe({"path": str(tmp_path / "a.parquet"), "keep": ["when"]}), tmp_path)
    assert texts(got) == ["a"]
    assert got.bad[0]["where"].endswith("row 2")
    assert got.bad[0]["why"].startswith("a value that cannot be read: ")


def test_a_broken_source_is_refused_with_its_place(tmp_path: Path) -> None:
    """What cannot be read as a whole is an error of the user that says where and what to do."""
    good = tmp_path / "good.parquet"
    write(good, numbered(*range(50)))
    (tmp_path / "cut.parquet").write_bytes(good.read_bytes()[:-20])
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "lines.json").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    (tmp_path / "latin.json").write_bytes(b'[{"prompt": "\xff"}]')
    (tmp_path / "quote.csv").write_text('prompt\n"a\nb\n')
    (tmp_path / "twice.csv").write_text("prompt,prompt\na,b\n")
    (tmp_path / "mark.csv").write_bytes(b"\xef\xbb\xbf")
    (tmp_path / "pool.txt").write_text("a\n")
    (tmp_path / "folder.jsonl").mkdir()
    for name, where, said in (
        ("cut.parquet", "cut.parquet", "not readable as Parquet"),
        ("empty.jsonl", "empty.jsonl", "the file is empty"),
        ("lines.json", "lines.json:2", "not JSON: Extra data"),
        ("latin.json", "latin.json", "not JSON"),
        ("quote.csv", "quote.csv:3", "not CSV"),
        ("twice.csv", "twice.csv:1", "names a column twice"),
        ("mark.csv", "mark.csv:1", "no header"),
        ("pool.txt", "pool.txt", ".txt is no known kind of file"),
        ("folder.jsonl", "folder.jsonl", "is a directory"),
        ("god.parquet", "god.parquet", "no such file"),
    ):
        with pytest.raises(UserError) as caught:
            list(read_rows(str(tmp_path / name), tmp_path))
        assert (caught.value.where, said in caught.value.what) == (str(tmp_path / where), True), caught.value
        assert caught.value.cure
    assert caught.value.cure == f"did you mean '{good}'?"


def test_a_path_is_looked_up_here_first_then_beside_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current directory wins over the recipe's; when both fail the message names both."""
    (tmp_path / "here").mkdir()
    (tmp_path / "recipes").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write(tmp_path / "recipes" / "a.jsonl", numbered(1))
    assert resolve("a.jsonl", tmp_path / "recipes") == tmp_path / "recipes" / "a.jsonl"
    assert texts(collect(recipe({"path": "a.jsonl"}), tmp_path / "recipes")) == ["p1"]
    write(tmp_path / "here" / "a.jsonl", numbered(2))
    assert resolve("a.jsonl", tmp_path / "recipes") == Path("a.jsonl")
    assert texts(collect(recipe({"path": "a.jsonl"}), tmp_path / "recipes")) == ["p2"]
    with pytest.raises(UserError) as caught:
        resolve("b.jsonl", tmp_path / "recipes")
    assert str(tmp_path / "here" / "b.jsonl") in caught.value.what
    assert str(tmp_path / "recipes" / "b.jsonl") in caught.value.what


def test_a_path_that_names_no_file_is_refused(tmp_path: Path) -> None:
    """An unknown home, a name too long for the file system and a pipe are mistakes of the user, not bugs."""
    os.mkfifo(tmp_path / "pipe.jsonl")
    for path, what in (
        ("~nobody-has-this-name/x.jsonl", "no path of a file"),
        ("x" * 5000 + ".jsonl", "no path of a file: File name too long"),
        ("pipe.jsonl", "is no regular file"),
    ):
        with pytest.raises(UserError, match=what):
            resolve(path, tmp_path)


def test_digest_follows_the_content(tmp_path: Path) -> None:
    """The digest is the SHA-256 of the file, wherever it lies."""
    path = write(tmp_path / "a.jsonl", numbered(1))
    assert digest(path, tmp_path) == hashlib.sha256(b'{"prompt": "p1"}\n').hexdigest()
    before = digest(path, tmp_path)
    write(tmp_path / "a.jsonl", numbered(2))
    assert digest(path, tmp_path) != before


def test_a_file_is_digested_once_and_again_when_it_changes(tmp_path: Path) -> None:
    """A run asks several times; other content of the same size and time is another state, all the same."""
    path = write(tmp_path / "a.jsonl", numbered(1))
    first, read = digest(path, tmp_path), rows_module._sha256.cache_info().misses
    assert digest(path, tmp_path) == first
    assert rows_module._sha256.cache_info().misses == read
    known = Path(path).stat()
    time.sleep(0.02)  # the clock of the file system is coarse
    write(tmp_path / "a.jsonl", numbered(2))
    os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))
    assert Path(path).stat().st_size == known.st_size
    assert digest(path, tmp_path) != first


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_a_column_that_no_row_has_is_refused(tmp_path: Path, ending: str) -> None:
    """A misspelt column of `prompt` or `keep` is an error with the right one; an unlike one lists what there is."""
    path = write(tmp_path / f"a{ending}", [{"question": "a", "level": "1"}, {"question": "b", "level": "2"}])
    for section, said, cure in (
        ({"prompt": "qestion"}, "'qestion'", "did you mean 'question'?"),
        ({"prompt": "text"}, "'text'", "known are: question, level"),
        ({"prompt": "question", "keep": ["levl"]}, "'levl'", "did you mean 'level'?"),
    ):
        with pytest.raises(UserError) as caught:
            collect(recipe({"path": path} | section), tmp_path)
        assert caught.value.what == f"pool 'pool0': no row has a column {said}"
        assert (caught.value.where, caught.value.cure) == (path, cure)


def test_a_missing_column_is_not_waited_for(tmp_path: Path) -> None:
    """A column that none of the first 1,000 rows has is refused there; a source of millions is not read for it."""
    rows: list[Any] = [{"question": "a"}] * 1000
    with pytest.raises(UserError, match="no row has a column 'prompt'"):
        pool(tmp_path / "a.jsonl", [*rows, {"prompt": "late"}])
    with pytest.raises(UserError, match=r"1000 of 1010 rows \(99.0%\) are bad"):
        pool(tmp_path / "a.jsonl", [*rows[:999], {"prompt": "soon"}, rows[0], *numbered(*range(9))])


def test_a_kept_column_may_be_missing_in_some_rows(tmp_path: Path) -> None:
    """Meta has what the row has."""
    path = write(tmp_path / "a.jsonl", [{"prompt": "a", "x": 1}, {"prompt": "b"}])
    got = collect(recipe({"path": path, "keep": ["x"]}), tmp_path)
    assert got.prompts["meta"].to_pylist() == ['{"x":1}', None]


def test_a_kept_value_must_be_text_that_can_be_stored(tmp_path: Path) -> None:
    """Half a surrogate pair in a kept column makes the row bad, for it could not be written."""
    path = write(
        tmp_path / "a.jsonl", [{"prompt": "a", "x": "\ud800"}, {"prompt": "b", "x": [float("inf")]}, *numbered(1)]
    )
    got = collect(recipe({"path": path, "keep": ["x"]}), tmp_path)
    assert [row["why"] for row in got.bad] == [
        "meta holds what UTF-8 cannot (half of a surrogate pair, or broken bytes)",
        "the kept columns are no JSON: Out of range float values are not JSON compliant",
    ]


def test_columns_that_are_not_asked_for_are_not_read(tmp_path: Path) -> None:
    """A Parquet file gives only the columns asked for, and all of them when it has none of those."""
    path = write(tmp_path / "a.parquet", [{"prompt": "a", "x": 1, "y": 2}])
    for asked, value in ((["y", "prompt", "z"], {"prompt": "a", "y": 2}), (["z"], {"prompt": "a", "x": 1, "y": 2})):
        assert [row.value for row in read_rows(path, tmp_path, asked)] == [value]


def test_the_first_of_equal_prompts_is_taken(tmp_path: Path) -> None:
    """Duplicates go within a pool and across pools, a string being the same as one user message; `none` refuses."""
    first = write(tmp_path / "a.jsonl", numbered(1, 2, 1))
    second = write(tmp_path / "b.jsonl", [{"prompt": [{"role": "user", "content": "p2"}]}, *numbered(3)])
    got = collect(recipe({"path": first}, {"path": second}), tmp_path)
    assert list(zip(texts(got), got.prompts["pool"].to_pylist(), strict=True)) == [
        ("p1", "pool0"),
        ("p2", "pool0"),
        ("p3", "pool1"),
    ]
    assert [(p["read"], p["duplicate"], p["taken"]) for p in got.pools] == [(3, 1, 2), (2, 1, 1)]
    with pytest.raises(UserError) as caught:
        collect(recipe({"path": first}, {"path": second}, dedup="none"), tmp_path)
    assert caught.value.where == f"{first}:3"
    assert texts(collect(recipe({"path": write(tmp_path / "c.jsonl", numbered(1, 2))}, dedup="none"), tmp_path))


def test_a_pool_without_a_usable_row_is_refused(tmp_path: Path) -> None:
    """No rows, or bad rows only, is an empty pool; rows that all stand in an earlier pool are not."""
    (tmp_path / "a.csv").write_text("prompt\n")
    with pytest.raises(UserError, match="empty pool: it has no rows"):
        collect(recipe({"path": str(tmp_path / "a.csv")}), tmp_path)
    with pytest.raises(UserError, match=r"empty pool: all 2 rows are bad: .*:1: prompt is null"):
        pool(tmp_path / "a.jsonl", [{"prompt": None}, {"prompt": 1}], max_bad=1.0)
    path = write(tmp_path / "b.jsonl", numbered(1))
    assert [p["taken"] for p in collect(recipe({"path": path}, {"path": path}), tmp_path).pools] == [1, 0]


def test_too_many_bad_rows_are_refused(tmp_path: Path) -> None:
    """Ten bad rows pass anywhere; more than ten only up to the share collect.max_bad of the pool."""
    blank: list[Any] = [{"prompt": ""}]
    assert pool(tmp_path / "a.jsonl", blank * 10 + numbered(1)).pools[0]["bad"] == 10
    with pytest.raises(UserError) as caught:
        pool(tmp_path / "a.jsonl", blank * 11 + numbered(1))
    assert caught.value.what == "pool 'pool0': 11 of 12 rows (91.7%) are bad: " + "; ".join(
        f"{tmp_path}/a.jsonl:{line}: prompt has no text" for line in (1, 2, 3)
    )
    assert caught.value.cure == "mend the rows, or allow more with --set collect.max_bad=0.92"
    assert pool(tmp_path / "a.jsonl", blank * 11 + numbered(1), max_bad=0.92).pools[0]["bad"] == 11
    assert pool(tmp_path / "a.jsonl", blank * 11 + numbered(*range(1089))).pools[0]["bad"] == 11


def test_shares_by_hand() -> None:
    """Shares follow the weights; what a pool cannot give goes to the others, by their weights."""
    assert shares(4, [3, 1], [9, 9]) == [3, 1]
    assert shares(10, [1, 1, 2], [1, 100, 100]) == [1, 3, 6]
    assert shares(10, [0.5, 0.3, 0.2], [100, 100, 100]) == [5, 3, 2]
    assert shares(7, [5, 3, 2], [9, 9, 9]) == [4, 2, 1]
    assert shares(9, [1, 1], [2, 3]) == [2, 3]
    assert shares(3, [1, 1], [0, 9]) == [0, 3]


WEIGHTS = st.lists(st.tuples(st.floats(0.01, 100), st.integers(0, 30)), min_size=1, max_size=5)


@given(WEIGHTS, st.integers(1, 100))
def test_shares_grow_with_the_limit(pools: list[tuple[float, int]], limit: int) -> None:
    """Everything is given out, no pool gives more than it has, and a higher limit takes from none."""
    weights, available = [p[0] for p in pools], [p[1] for p in pools]
    taken, more = shares(limit, weights, available), shares(limit + 1, weights, available)
    assert sum(taken) == min(limit, sum(available))
    assert all(0 <= t <= m <= a for t, m, a in zip(taken, more, available, strict=True))


folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
NUMBERS = st.lists(st.integers(0, 60), min_size=1, max_size=40)


@folder
@given(NUMBERS, NUMBERS, st.integers(1, 50), st.integers(1, 30), st.integers(0, 3))
def test_raising_the_limit_keeps_the_members(
    tmp_path: Path, one: list[int], two: list[int], limit: int, more: int, seed: int
) -> None:
    """A sample of a higher limit holds the lower one's prompts, and both stand in the order of the unlimited table."""
    pools = [
        {"path": write(tmp_path / f"{i}.jsonl", numbered(*n)), "weight": w} for i, n, w in ((1, one, 2), (2, two, 1))
    ]
    everything = texts(collect(recipe(*pools, seed=seed), tmp_path))
    low = texts(collect(recipe(*pools, seed=seed, limit=limit), tmp_path))
    high = texts(collect(recipe(*pools, seed=seed, limit=limit + more), tmp_path))
    assert len(low) == min(limit, len(everything))
    assert set(low) <= set(high)
    assert high == [text for text in everything if text in set(high)]
    assert low == [text for text in everything if text in set(low)]


@folder
@given(NUMBERS, st.lists(st.integers(100, 160), min_size=1, max_size=40, unique=True), st.integers(1, 20))
def test_a_pool_that_grows_moves_no_choice_of_another(
    tmp_path: Path, grown: list[int], other: list[int], limit: int
) -> None:
    """The other pool gives the same prompts, or so many fewer."""
    path = write(tmp_path / "b.jsonl", numbered(*other))
    chosen = []
    for numbers in (grown[:1], grown):
        pools = [{"path": write(tmp_path / "a.jsonl", numbered(*numbers))}, {"path": path}]
        got = collect(recipe(*pools, limit=limit), tmp_path)
        chosen.append({text for text in texts(got) if int(text[1:]) >= 100})
    assert chosen[1] <= chosen[0]


@folder
@given(st.lists(st.integers(-20, 40), min_size=1, max_size=60), st.integers(1, 50) | st.none())
def test_every_row_is_counted_once(tmp_path: Path, numbers: list[int], limit: int | None) -> None:
    """taken + bad + duplicate + not_sampled = read, of one pool and of a second; the table has the taken."""
    rows = [{"prompt": f"p{n}" if n >= 0 else None} for n in [*numbers, 0]]
    pools = [{"path": write(tmp_path / "a.jsonl", rows)}, {"path": write(tmp_path / "b.jsonl", rows[::-1])}]
    got = collect(recipe(*pools, max_bad=1.0, **{"limit": limit} if limit else {}), tmp_path)
    for count in got.pools:
        assert count["taken"] + count["bad"] + count["duplicate"] + count["not_sampled"] == count["read"] == len(rows)
    assert sum(count["taken"] for count in got.pools) == got.prompts.num_rows
    assert len(set(got.prompts["prompt_id"].to_pylist())) == got.prompts.num_rows
    assert sum(count["bad"] for count in got.pools) == len(got.bad) == 2 * sum(n < 0 for n in numbers)


@pytest.mark.parametrize("limit", [None, 7])
def test_chunks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None) -> None:
    """A pool of many chunks gives the table of one that fits in one."""
    section = {"limit": limit} if limit else {}
    for seed in range(5):
        monkeypatch.setattr(spool_module, "CHUNK", 1024)
        whole = pool(tmp_path / "a.jsonl", numbered(*range(100)), seed=seed, **section)
        monkeypatch.setattr(spool_module, "CHUNK", 4)
        parts = pool(tmp_path / "a.jsonl", numbered(*range(100)), seed=seed, **section)
        assert parts.prompts.to_pylist() == whole.prompts.to_pylist()
        assert parts.pools == whole.pools


def test_the_sample_is_of_the_lowest_ranks(tmp_path: Path) -> None:
    """A prompt's place in the sample depends on the seed and on itself, not on where it stands."""
    got = texts(pool(tmp_path / "a.jsonl", numbered(*range(50)), seed=3, limit=10))
    ranks = {f"p{n}": tables.rank(3, tables.prompt_id([{"role": "user", "content": f"p{n}"}])) for n in range(50)}
    assert set(got) == set(sorted(ranks, key=ranks.__getitem__)[:10])


def test_seeds_give_other_samples(tmp_path: Path) -> None:
    """The sample is the seed's, and the same every time."""
    path = write(tmp_path / "a.jsonl", numbered(*range(100)))
    one, again, other = (texts(collect(recipe({"path": path}, limit=20, seed=seed), tmp_path)) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_what_is_collected_keeps_the_rules(tmp_path: Path) -> None:
    """The table passes its own contract."""
    import polars as pl

    got = pool(
        tmp_path / "a.jsonl", [*numbered(*range(5)), {"prompt": [{"role": "system", "content": "s"}, USER_TURN]}]
    )
    frame = pl.DataFrame(pl.from_arrow(got.prompts))
    tables.check_rows(tables.PROMPTS, frame, "test")
    tables.check_keys(tables.PROMPTS, frame.select(tables.PROMPTS.key), "test")


def test_mt_bench_turns_are_no_prompt_yet() -> None:
    """A list of user turns without answers between them is refused with the reason, not guessed at."""
    if not (DATA / "mt_bench").is_dir():
        pytest.skip("the real data is not beside the project")
    path = DATA / "mt_bench" / "question.jsonl"
    with pytest.raises(UserError) as caught:
        collect(recipe({"path": str(path), "prompt": "turns"}), ROOT)
    assert caught.value.what.startswith("pool 'pool0' is an empty pool: all 80 rows are bad")
    assert "turns[0] is no message of role and content but of type str" in caught.value.what


CARD = """---
configs:
- {config_name: default, data_files: [{split: train, path: "SUB/train*"}, {split: test, path: "SUB/test*"}]}
- {config_name: small, data_files: [{split: train, path: "SUB/small*"}]}
---
"""
CLIENT = """
import json, sys
from pathlib import Path
from deltadata.errors import DeltadataError
from deltadata.rows import digest, read_rows

for spec in sys.argv[1:]:
    try:
        rows = [(row.where, *row.value.values()) for row in read_rows(spec, Path(), ["prompt"])]
        answer = [rows, digest(spec, Path())]
    except DeltadataError as error:
        answer = [error.exit_code, error.what, error.cure]
    print(json.dumps([spec, answer]))
"""


def ask(url: str, home: Path, *specs: str) -> dict[str, Any]:
    """What a process for which `url` is the Hub gets from each spec: rows and digest, or exit code, what and cure."""
    command = [sys.executable, "-c", CLIENT, *specs]
    done = subprocess.run(command, env=client_env(url, home), cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


def parquet(*prompts: str) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"prompt": prompts, "other": prompts}), sink)
    return sink.getvalue()


def lines(*prompts: str) -> bytes:
    return "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts).encode()


@pytest.mark.filterwarnings("default")
def test_pools_of_the_hub(tmp_path: Path) -> None:
    """Configs, splits and revisions of Parquet and JSON Lines datasets are read; what is not there exits with 2."""
    pytest.importorskip("datasets", reason="the extra [hub] is not installed")
    with serving() as hub:
        old = hub.commit("me/pool", {"data.jsonl": lines("old")}, "v1")
        files = {name: parquet(*prompts) for name, prompts in (("train", "ab"), ("test", "c"), ("small", "d"))}
        new = hub.commit(
            "me/pool",
            {"README.md": CARD.replace("SUB", "data").encode()}
            | {f"data/{name}.parquet": content for name, content in files.items()},
        )
        hub.commit(
            "me/lines",
            {"README.md": CARD.replace("SUB", "x").encode(), "x/train.jsonl": lines("e", "f")}
            | {"x/test.jsonl": lines("g"), "x/small.jsonl": lines("h")},
        )
        hub.commit("me/gated", {"data.jsonl": lines("secret")})
        hub.gated.add("me/gated")
        got = ask(
            hub.url, tmp_path / "home", "hf:me/pool", "hf:me/pool:small", "hf:me/pool::test", "hf:me/pool@v1",
            f"hf:me/pool@{old}:default:train", "hf:me/lines", "hf:me/lines:small", "hf:me/none", "hf:me/pool:larg",
            "hf:me/pool::dev", "hf:me/pool@v2", "hf:me/gated", "hf:pool", "hf:me/a..b",
        )  # fmt: skip
        hub.fail = 503
        ill = ask(hub.url, tmp_path / "other", "hf:me/pool")
    train = [["hf:me/pool::train row 1", "a"], ["hf:me/pool::train row 2", "b"]]
    assert got["hf:me/pool"] == [train, f"hf:me/pool {new}"]
    assert got["hf:me/pool:small"] == [[["hf:me/pool:small:train row 1", "d"]], f"hf:me/pool:small {new}"]
    assert got["hf:me/pool::test"] == [[["hf:me/pool::test row 1", "c"]], f"hf:me/pool::test {new}"]
    assert got["hf:me/pool@v1"] == [[["hf:me/pool@v1::train row 1", "old"]], f"hf:me/pool@v1 {old}"]
    assert got[f"hf:me/pool@{old}:default:train"][0] == [[f"hf:me/pool@{old}:default:train row 1", "old"]]
    assert [prompt for _, prompt in got["hf:me/lines"][0]] == ["e", "f"]
    assert [prompt for _, prompt in got["hf:me/lines:small"][0]] == ["h"]
    for spec, said in (
        ("hf:me/none", "no such dataset"),
        ("hf:me/pool:larg", "['default', 'small']"),
        ("hf:me/pool::dev", "['train', 'test']"),
        ("hf:me/pool@v2", "no revision 'v2'"),
        ("hf:me/gated", "is a gated dataset"),
        ("hf:pool", "not the address of a Hub dataset"),
        ("hf:me/a..b", "a..b"),
    ):
        assert got[spec][0] == 2, spec
        assert said in got[spec][1], spec
    assert ill["hf:me/pool"][0] == 3
    assert "503" in ill["hf:me/pool"][1]


@pytest.mark.filterwarnings("default")
def test_a_hub_that_is_down_is_an_outside_failure(tmp_path: Path) -> None:
    """Without a server the pool exits with 3 and says that the same command can be run again."""
    pytest.importorskip("datasets", reason="the extra [hub] is not installed")
    with serving() as hub:
        url = hub.url
    ((code, what, cure),) = ask(url, tmp_path, "hf:me/pool").values()
    assert (code, "did not answer" in what, "run the same command again" in cure) == (3, True, True)
