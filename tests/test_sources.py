"""Where prompts come from: patterns, compressed files, paths into columns, layouts, the Hub: rows, files, layouts, hub.

pytest tests/test_sources.py
"""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import client_env, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deltadata.errors import OutsideError, UserError
from deltadata.files import matching
from deltadata.layouts import (
    BadRow,
    Missing,
    Take,
    answer,
    column_of,
    conversation,
    messages,
    paths,
    value_at,
    values_at,
)
from deltadata.rows import Row, digest, no_such_column, read_rows

ROOT = Path(__file__).parents[1]


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


PACK = {".gz": gzip.compress, ".zst": lambda content: pa.compress(content, "zstd", asbytes=True)}


def put(path: Path, content: bytes) -> str:
    """Writes a file, compressed as its ending says, in a folder that is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(PACK.get(path.suffix, bytes)(content))
    return str(path)


def prompts(path: str, folder: Path, **more: Any) -> list[Any]:
    return [row.value and row.value.get("prompt") for row in read_rows(path, folder, **more)]


def refused(path: str, folder: Path, **more: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        list(read_rows(path, folder, **more))
    return caught.value


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_pattern_reads_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Every row of every file, wherever it lies, each named by its own file and line; folders and others are let be."""
    for name, prompt in (("b/2.jsonl", "b2"), ("a/9.jsonl", "a9"), ("b/10.jsonl", "b10"), ("b/x.csv", "no")):
        put(tmp_path / name, lines({"prompt": prompt}))
    (tmp_path / "b" / "3.jsonl").mkdir()
    found = list(read_rows(f"{tmp_path}/**/*.jsonl", Path()))
    assert [(row.where, (row.value or {})["prompt"]) for row in found] == [
        (f"{tmp_path}/a/9.jsonl:1", "a9"),
        (f"{tmp_path}/b/10.jsonl:1", "b10"),
        (f"{tmp_path}/b/2.jsonl:1", "b2"),
    ]
    assert prompts(f"{tmp_path}/b/[0-9].jsonl", Path()) == ["b2"]
    assert prompts(f"{tmp_path}/b/1?.jsonl", Path()) == ["b10"]


def test_a_pattern_is_looked_up_here_first_then_beside_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current directory's files are all there is when it has any; a file of the very name wins over the pattern."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    put(tmp_path / "recipes[1]" / "a1.jsonl", lines({"prompt": "beside"}))
    recipes = tmp_path / "recipes[1]"
    assert prompts("a*.jsonl", recipes) == ["beside"]
    put(tmp_path / "here" / "a2.jsonl", lines({"prompt": "here"}))
    assert prompts("a*.jsonl", recipes) == ["here"]
    put(tmp_path / "here" / "a[2].jsonl", lines({"prompt": "brackets"}))
    assert prompts("a[2].jsonl", recipes) == ["brackets"]
    assert matching("a[2-3].jsonl", recipes) == [Path("a2.jsonl")]


def test_a_pattern_without_a_match_names_what_is_near(tmp_path: Path) -> None:
    """The nearest name, else what the folder has, else where was looked."""
    for name in ("part-1.jsonl", "part-2.jsonl", "x.csv", "y.csv"):
        put(tmp_path / name, b"\n")
    near = refused(f"{tmp_path}/part-*.jsonl.gz", Path())
    assert near.what == f"no file matches; looked for {tmp_path}/part-*.jsonl.gz"
    assert near.cure in (f"did you mean '{tmp_path}/part-{n}.jsonl'?" for n in (1, 2))
    far = refused(f"{tmp_path}/?", Path())
    assert far.cure == f"{tmp_path} has part-1.jsonl, part-2.jsonl, x.csv, ..."
    assert "relative to" in (refused(f"{tmp_path}/none/*", Path()).cure or "")


def test_every_file_of_a_pattern_is_known_before_the_first_is_read(tmp_path: Path) -> None:
    """A kind of file that cannot be read is refused at once, not after the millions of rows before it."""
    put(tmp_path / "a.jsonl", lines({"prompt": "a"}))
    put(tmp_path / "b.txt", b"b")
    with pytest.raises(UserError, match="no known kind of file"):
        next(read_rows(f"{tmp_path}/*", Path()))
    for name, said in (("a.gz", ".gz"), ("a.txt.zst", ".txt.zst"), ("a.parquet.gz", ".parquet.gz"), ("a", "no ending")):
        put(tmp_path / "other" / name, b"x")
        assert refused(str(tmp_path / "other" / name), Path()).what == f"{said} is no known kind of file"


@pytest.mark.parametrize("codec", ["", ".gz", ".zst"])
def test_compressed_files_are_the_files(tmp_path: Path, codec: str) -> None:
    """.jsonl, .json and .csv are read through gzip and zstd, with the places of the rows that were packed."""
    rows = [{"prompt": f"{n} ü\n{'x' * n}"} for n in range(3000)]
    text = '"prompt"\n' + "".join(f'"{row["prompt"]}"\n' for row in rows)
    for ending, content in ((".jsonl", lines(*rows)), (".json", json.dumps(rows).encode()), (".csv", text.encode())):
        path = put(tmp_path / f"a{ending}{codec}", content)
        assert prompts(path, Path()) == [row["prompt"] for row in rows]
    (row,) = [row for row in read_rows(put(tmp_path / f"b.jsonl{codec}", b'\xef\xbb\xbf\n{"a": }\n'), Path())]
    assert (row.where, row.problem) == (f"{tmp_path}/b.jsonl{codec}:2", "not JSON: Expecting value at column 7")
    assert refused(put(tmp_path / f"c.jsonl{codec}", b""), Path()).what == "the file is empty"


@pytest.mark.parametrize("codec", [".gz", ".zst"])
def test_files_that_were_joined_are_read_to_the_end(tmp_path: Path, codec: str) -> None:
    """`cat a.gz b.gz` is one file of all rows."""
    path = tmp_path / f"a.jsonl{codec}"
    path.write_bytes(PACK[codec](lines({"prompt": "a"})) + PACK[codec](lines({"prompt": "b"})))
    assert prompts(str(path), Path()) == ["a", "b"]


@pytest.mark.parametrize("codec", [".gz", ".zst"])
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv"])
def test_a_file_cut_short_is_refused(tmp_path: Path, codec: str, ending: str) -> None:
    """Wherever it is cut, the error names the file and how many rows could be read: never fewer rows without a word."""
    numbers = [f"{n * 7919 % 100_003}" for n in range(50_000)]
    content = {
        ".jsonl": lines(*({"prompt": n} for n in numbers)),
        ".json": json.dumps([{"prompt": n} for n in numbers]).encode(),
        ".csv": "\n".join(["prompt", *numbers, ""]).encode(),
    }[ending]
    whole = PACK[codec](content)
    path = tmp_path / f"a{ending}{codec}"
    name = {".gz": "gzip", ".zst": "zstd"}[codec]
    for left in (5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:left])
        read = []
        with pytest.raises(UserError) as caught:
            for row in read_rows(str(path), Path()):
                read.append((row.value or {})["prompt"])
        assert caught.value.where == str(path)
        assert caught.value.what == f"not readable as {name} after {len(read)} rows: Truncated compressed stream"
        assert caught.value.cure == "fetch or write the file again; it may be cut short"
        assert read == numbers[: len(read)]
    path.write_bytes(b"plain text")
    assert refused(str(path), Path()).what.startswith(f"not readable as {name} after 0 rows: ")


def test_a_disk_that_fails_is_an_outside_failure(tmp_path: Path) -> None:
    """What can be opened and not read is no mistake of the user: exit code 3."""
    (tmp_path / "a.jsonl").symlink_to("/proc/self/mem")
    if not (tmp_path / "a.jsonl").is_file():
        pytest.skip("there is no file here that fails")
    with pytest.raises(OutsideError, match=r"cannot be read: .*Input/output error"):
        list(read_rows(str(tmp_path / "a.jsonl"), Path()))


def test_one_malformed_line_in_a_hundred_thousand_is_reported(tmp_path: Path) -> None:
    """It has its number and its reason; the 99,999 others are read."""
    written = [json.dumps({"prompt": f"p{n}"}) for n in range(100_000)]
    written[54_320] = '{"prompt": "p54320'
    for name in ("a.jsonl", "a.jsonl.gz"):
        path = put(tmp_path / name, "\n".join(written).encode())
        rows = list(read_rows(path, Path()))
        assert [row for row in rows if row.value is None] == [
            Row(f"{path}:54321", None, "not JSON: Unterminated string starting at at column 12", '{"prompt": "p54320')
        ]
        assert sum(row.value is not None for row in rows) == 99_999


LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
JSON = st.recursive(LEAF, lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=4), inside))
folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@folder
@given(st.lists(st.dictionaries(st.text(max_size=4), JSON, max_size=4), min_size=1, max_size=4), st.booleans())
def test_a_line_is_what_json_says_it_is(tmp_path: Path, rows: list[dict[str, Any]], plain: bool) -> None:
    """The fast parser and Python's agree on every value, type by type."""
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=plain) for row in rows), encoding="utf-8", newline="")
    assert [repr(row.value) for row in read_rows(str(path), Path())] == [repr(row) for row in rows]


def test_what_python_takes_for_json_is_taken(tmp_path: Path) -> None:
    """NaN, infinities, half a surrogate pair and whole numbers of any size are read as Python reads them."""
    path = put(tmp_path / "a.jsonl", b'{"a": [NaN, -Infinity, 1e400, 123456789012345678901234567890, "\\ud800"]}\n')
    (row,) = read_rows(path, Path())
    assert repr(row.value) == "{'a': [nan, -inf, inf, 123456789012345678901234567890, '\\ud800']}"


def test_parquet_files_of_a_pattern_may_differ(tmp_path: Path) -> None:
    """Each is read by its own columns; one without the column says so by its name, at once where it is needed."""
    one = [{"x": 1, "prompt": "a", "y": 2}]
    two = [{"prompt": [{"role": "user", "content": "b"}], "other": None}]
    for name, rows in (("1", one), ("2", two), ("3", [{"promt": "c"}])):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
    asked = {"columns": ["prompt", "x"]}
    assert [row.value for row in read_rows(f"{tmp_path}/*.parquet", Path(), **asked)] == [
        {"prompt": "a", "x": 1},
        {"prompt": [{"role": "user", "content": "b"}]},
        {"promt": "c"},
    ]
    seen = []
    with pytest.raises(UserError) as caught:
        for row in read_rows(f"{tmp_path}/*.parquet", Path(), needed=["prompt"], **asked):
            seen.append(row.where)
    assert (caught.value.where, caught.value.what) == (f"{tmp_path}/3.parquet", "no column 'prompt'")
    assert caught.value.cure == "did you mean 'promt'?"
    assert len(seen) == 2
    put(tmp_path / "4.csv", b"promt\nx\n")
    assert refused(f"{tmp_path}/4.csv", Path(), needed=["prompt.0"]).what == "no column 'prompt.0'"


def test_a_columnar_source_reads_the_column_that_a_path_begins_with(tmp_path: Path) -> None:
    """Only that: its neighbours are left on the disk, and a column whose name has the dots is taken instead."""
    row = {"data": {"prompt": {"text": "a"}}, "x.y": "c", "x": {"y": "d"}, "wide": "w"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    for asked, value in (("data.prompt.text", "a"), ("x.y", "c"), ("wide", "w")):
        (read,) = read_rows(str(tmp_path / "a.parquet"), Path(), [asked])
        assert value_at(read.value or {}, asked) == value
        assert ("wide" in (read.value or {})) == (asked == "wide")
    (read,) = read_rows(str(tmp_path / "a.parquet"), Path(), ["data.other", "data.prompt"])
    assert read.value == {"data": {"prompt": {"text": "a"}}, "data.prompt": {"text": "a"}}


def test_the_digest_of_a_pattern_follows_names_and_contents(tmp_path: Path) -> None:
    """Not the place: moved as a whole it is the same; a file added, renamed or changed makes it another."""

    def of(folder: str, **files: bytes) -> str:
        for name, content in files.items():
            put(tmp_path / folder / "in" / f"{name}.jsonl", content)
        return digest(f"{tmp_path}/{folder}/**/*.jsonl", Path())

    first = of("one", a=b"1", b=b"2")
    assert first == of("two", a=b"1", b=b"2")
    others = [of("three", a=b"1", c=b"2"), of("four", a=b"2", b=b"1"), of("five", a=b"1"), of("one", c=b"3")]
    assert len({first, *others}) == 5
    assert digest(f"{tmp_path}/five/in/a.jsonl", Path()) == digest(f"{tmp_path}/four/in/b.jsonl", Path())


# --- paths -----------------------------------------------------------------------------------------------------------


def test_paths_by_hand() -> None:
    """Names and places, from the end too; the longest name that is there wins, at every depth."""
    row = {
        "data": {"prompt": {"text": "a"}, "a.b": [{"c.d": 1, "c": {"d": 2}}]},
        "turns": ["x", ["y", {"value": None}]],
        "a.b": "dots",
        "a": {"b": "no"},
        "": {"": 7},
        "n": {"0": "name"},
    }
    for path, value in (
        ("data", row["data"]),
        ("data.prompt.text", "a"),
        ("data.a.b.0.c.d", 1),
        ("turns.0", "x"),
        ("turns.-1.0", "y"),
        ("turns.-1.-1.value", None),
        ("a.b", "dots"),
        ("", {"": 7}),
        (".", 7),
        ("n.0", "name"),
    ):
        assert value_at(row, path) == value, path
    for path, why in (
        ("dta", "no column 'dta'"),
        ("data.prmpt.text", "no column 'data.prmpt.text': data has no 'prmpt'"),
        ("data.prompt.text.0", "no column 'data.prompt.text.0': data.prompt.text is of type str"),
        ("turns.2", "no column 'turns.2': turns has 2 items"),
        ("turns.-3", "no column 'turns.-3': turns has 2 items"),
        ("turns.last", "no column 'turns.last': turns is a list, and 'last' is no place in it"),
        ("turns.1.1.value.x", "no column 'turns.1.1.value.x': turns.1.1.value is null"),
        ("a.b.c", "no column 'a.b.c': a.b is of type str"),
        ("data.", "no column 'data.': data has no ''"),
        ("turns." + "9" * 5000, "no column"),
    ):
        with pytest.raises(Missing) as caught:
            value_at(row, path)
        assert str(caught.value).startswith(why)


NAME = st.text(st.characters(exclude_characters=".", exclude_categories=["Cs"]), max_size=3)
TREE = st.recursive(
    LEAF, lambda inside: st.lists(inside, max_size=3) | st.dictionaries(NAME, inside, max_size=3), max_leaves=12
)


def walk(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    """Every path into a value, each list item by both of its numbers."""
    found = [(".".join(path), value)] if path else []
    inside = value.items() if isinstance(value, dict) else []
    if isinstance(value, list):
        inside = [(str(at), value[at]) for at in range(-len(value), len(value))]
    return found + [entry for name, below in inside for entry in walk(below, (*path, name))]


@given(st.dictionaries(NAME, TREE, max_size=3))
def test_every_path_leads_to_its_value(row: dict[str, Any]) -> None:
    """Where no name has a dot, a path is the names and places on the way; the suggested ones all lead somewhere."""
    for path, value in walk(row):
        assert value_at(row, path) is value
    for path in paths(row):
        value_at(row, path)


@given(st.dictionaries(NAME, TREE, max_size=3), st.lists(NAME, min_size=2, max_size=4), LEAF)
def test_a_name_with_dots_wins(row: dict[str, Any], parts: list[str], value: Any) -> None:
    """Whatever else is in the row, a column of that very name is what the path means."""
    path = ".".join(parts)
    assert value_at(row | {path: value}, path) is value
    assert column_of(path, row | {path: value}) == path


def test_a_path_is_a_column_of_the_rows_that_have_it(tmp_path: Path) -> None:
    """Asked for by its path, a value stands in the row under that name; where there is none, there is no such name."""
    rows = [{"turns": [{"content": "a"}]}, {"turns": []}, {"turns.0.content": "c"}]
    path = put(tmp_path / "a.jsonl", lines(*rows) + b"x\n")
    asked = [row.value for row in read_rows(path, Path(), ["turns.0.content", "turns"])]
    assert asked == [rows[0] | {"turns.0.content": "a"}, rows[1], rows[2], None]
    assert values_at(rows[0], ["turns", "x", "turns.0.content"]) == rows[0] | {"turns.0.content": "a"}


def test_a_missing_path_is_told_with_the_one_that_is_near(tmp_path: Path) -> None:
    """A misspelt part of a path is cured with the path as it should be; a wrong column with the columns."""
    path = put(tmp_path / "a.jsonl", lines({"conversation": [{"content": "x"}], "id": 1}))
    for column, cure in (
        ("conversation.0.contnt", "did you mean 'conversation.0.content'?"),
        ("zzz.0.q", "known are: conversation, id"),
        ("conversatio", "did you mean 'conversation'?"),
    ):
        error = no_such_column(column, path, Path(), "pool 'p'")
        assert (error.what, error.cure) == (f"pool 'p': no row has a column {column!r}", cure)


# --- layouts ---------------------------------------------------------------------------------------------------------


def said(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


S, U, A, V, B = ("system", "s"), ("user", "u"), ("assistant", "a"), ("user", "v"), ("assistant", "b")


@pytest.mark.parametrize(
    ("take", "given", "prompt"),
    [
        ("auto", [S, U, A, V], [S, U, A, V]),
        ("auto", [U, V], [U, V]),
        ("auto", [U, A], "c ends with a turn of assistant, not of user; `take: history` cuts it off"),
        ("auto", [S], "c ends with a turn of system, not of user"),
        ("first_user", [S, U, A, V, B], [S, U]),
        ("first_user", [A, U, V], [U]),
        ("first_user", [U, S, V], [U]),
        ("first_user", [S, A], "c has no turn of user"),
        ("history", [S, U, A, V, B], [S, U, A, V]),
        ("history", [U, A, V, B, S], [U, A, V]),
        ("history", [U], [U]),
        ("history", [A], "c has no turn of user"),
        ("chosen", [U, A], [U]),
        ("chosen", [S, U, A, V, B], [S, U, A, V]),
        ("chosen", [U, A, V], [U]),
        ("chosen", [U], "c has no turn of assistant"),
        ("chosen", [A], "c has nothing before the last turn of assistant, not a turn of user"),
        ("chosen", [U, A, B], "c has a turn of assistant before the last turn of assistant, not a turn of user"),
    ],
)
def test_what_is_taken_of_a_conversation(take: Take, given: list[Any], prompt: list[Any] | str) -> None:
    """By hand: each way to take a prompt, of a conversation in either layout."""
    sharegpt = {"system": "system", "user": "human", "assistant": "gpt"}
    for value in (said(*given), [{"from": sharegpt[role], "value": content} for role, content in given]):
        if isinstance(prompt, str):
            with pytest.raises(BadRow) as caught:
                messages(value, "c", take)
            assert str(caught.value) == prompt
        else:
            assert messages(value, "c", take) == said(*prompt)


def test_a_text_is_one_user_turn() -> None:
    """Whatever is taken, but for a chosen text, which has no prompt in it."""
    for take in ("auto", "first_user", "history"):
        assert messages(" x\n", "c", take) == said(("user", " x\n"))
    with pytest.raises(BadRow, match="c is text; `take: chosen` needs a conversation"):
        messages("x", "c", "chosen")


def test_names_of_the_roles() -> None:
    """ShareGPT's many names are three roles, OpenAI's `developer` is the system; others are refused by name."""
    names = {
        "system": ["system", "developer"],
        "user": ["human", "user", "prompter"],
        "assistant": ["gpt", "assistant", "chatgpt", "bing", "bard", "bot", "model"],
    }
    for role, known in names.items():
        for name in known:
            assert conversation([{"from": name, "value": "x"}], "c") == said((role, "x"))
    assert conversation([{"role": "developer", "content": "x"}], "c") == said(("system", "x"))
    assert conversation([{"from": "gpt", "content": "x"}, {"role": "user", "value": "y"}], "c") == said(
        ("assistant", "x"), ("user", "y")
    )
    for message, why in (
        ({"role": "human", "content": "x"}, "c[0] has the role 'human'; known are system, user, assistant, developer"),
        ({"from": "Alice", "value": "x"}, "c[0] has the role 'Alice'; known are system, user, assistant, developer, h"),
        ({"from": ["gpt"], "value": "x"}, "c[0] has the role ['gpt']; known are "),
        ({"value": "x"}, "c[0] has the role None; known are "),
        ({"from": "observation", "value": "x"}, "c[0] is a turn of tool; a prompt has turns of system, user, assistan"),
        ({"from": "human", "value": None}, "c[0].value is null"),
        ({"from": "human"}, "c[0].value is null"),
        ({"from": "human", "value": " "}, "c[0].value has no text"),
    ):
        with pytest.raises(BadRow) as caught:
            messages([message], "c")
        assert str(caught.value).startswith(why)


def test_parts_of_a_content_are_joined() -> None:
    """Text parts become lines of one text; a picture, or what is no part, is a reason."""
    parts = [
        {"type": "text", "text": "a", "image_url": None},
        {"type": "text", "text": ""},
        {"type": "text", "text": "b"},
    ]
    assert messages([{"role": "user", "content": parts}], "c") == said(("user", "a\n\nb"))
    for content, why in (
        (
            [parts[0], {"type": "image_url", "image_url": {}}],
            "c[0].content[1] is of type 'image_url'; only parts of te",
        ),
        (["x"], "c[0].content[0] is no part of type and text; only parts of text can be taken"),
        ([{"type": "text"}], "c[0].content[0].text is null"),
        ([parts[1]], "c[0].content has no text"),
        ([], "c[0].content is not text but of type list"),
    ):
        with pytest.raises(BadRow) as caught:
            messages([{"role": "user", "content": content}], "c")
        assert str(caught.value).startswith(why)


def test_what_is_cut_off_may_be_anything_known() -> None:
    """Tool calls without text and pictures after the last user turn spoil no prompt; an unknown role does."""
    rest = [{"role": "assistant", "content": None, "tool_calls": []}, {"role": "tool", "content": [{"type": "image"}]}]
    for take in ("first_user", "history"):
        assert messages([*said(U), *rest], "c", take) == said(U)
    with pytest.raises(BadRow, match=r"c\[1\] has the role 'x'"):
        messages(said(U, ("x", "y")), "c", "history")
    with pytest.raises(BadRow, match=r"c\[2\] is a turn of tool"):
        messages([*said(U, A), *rest[1:], *said(V)], "c", "history")


def test_both_layouts_of_one_parquet_file(tmp_path: Path) -> None:
    """A column that holds both layouts has every name in every message, the other's being null."""
    rows = [{"c": said(U, A)}, {"c": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]}]
    pq.write_table(pa.Table.from_pylist(rows, pa.schema({"c": MIXED})), tmp_path / "a.parquet")
    read = [value_at(row.value or {}, "c") for row in read_rows(str(tmp_path / "a.parquet"), Path(), ["c"])]
    assert set(read[0][0]) == {"role", "content", "from", "value"}
    assert [messages(value, "c", "chosen") for value in read] == [said(U), said(U)]
    assert [answer(value, "c") for value in read] == ["a", "a"]


MIXED = pa.list_(pa.struct({name: pa.string() for name in ("role", "content", "from", "value")}))


def test_the_answer_is_the_last_turn() -> None:
    """Its text, parts joined, or its null; a conversation that does not end with the assistant has none."""
    assert answer(said(U, A), "c") == "a"
    assert answer([{"from": "gpt", "value": ""}], "c") == ""
    assert answer([{"role": "assistant", "content": None}], "c") is None
    assert answer([{"role": "assistant", "content": [{"type": "text", "text": "x"}]}], "c") == "x"
    for value in ([], said(U), ["a"], [{"role": "gpt", "content": "x"}]):
        with pytest.raises(BadRow, match="c does not end with a turn of assistant"):
            answer(value, "c")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(lambda text: f"x{text}")
TURNS = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXT), min_size=1, max_size=6)


@given(TURNS, st.sampled_from(["auto", "first_user", "history", "chosen"]))
def test_the_layouts_are_one(turns: list[tuple[str, str]], take: Take) -> None:
    """The same turns in OpenAI's layout, in parts and in ShareGPT's are the same prompt, or refused alike; and a prompt
    ends with the user, holds turns of the conversation in their order, and is taken whole a second time."""
    sharegpt = {"system": "system", "user": "human", "assistant": "gpt"}
    layouts: list[list[dict[str, Any]]] = [
        said(*turns),
        [{"role": role, "content": [{"type": "text", "text": content}]} for role, content in turns],
        [{"from": sharegpt[role], "value": content} for role, content in turns],
    ]
    found = []
    for layout in layouts:
        try:
            found.append(messages(layout, "c", take))
        except BadRow:
            found.append([])
    assert found[0] == found[1] == found[2]
    prompt = found[0]
    if take in ("first_user", "history"):
        assert bool(prompt) == any(role == "user" for role, _ in turns)
    if prompt:
        assert prompt[-1]["role"] == "user"
        rest = iter(layouts[0])
        assert all(turn in rest for turn in prompt)
        assert messages(prompt, "c") == prompt == messages(prompt, "c", "history")


@given(JSON)
def test_any_value_is_a_prompt_or_a_reason(value: Any) -> None:
    """Nothing that JSON can hold raises anything but BadRow."""
    for given_value in (value, [value], [{"role": "user", "content": value}], [{"from": value, "value": "x"}]):
        for take in ("auto", "first_user", "history", "chosen"):
            try:
                assert messages(given_value, "c", take)[-1]["role"] == "user"
            except BadRow as why:
                assert str(why).startswith("c")


# --- the Hub ---------------------------------------------------------------------------------------------------------

CLIENT = """
import json, os, sys, time
from pathlib import Path
from deltadata.errors import DeltadataError
from deltadata.rows import read_rows

time.sleep = lambda seconds: None  # the libraries try again, without the minutes in between
count, row, hwm = 0, None, []
try:
    for row in read_rows(sys.argv[1], Path(), sys.argv[2:]):
        count += 1
        if count % 10_000 == 0:
            hwm.append(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) >> 10)
    print(json.dumps([count, row.value, hwm]))
except DeltadataError as error:
    print(json.dumps([count, error.exit_code, error.what, error.cure]), flush=True)
    os._exit(0)  # as the command does: Arrow's threads may abort an orderly end
"""


def ask(url: str, home: Path, spec: str, *columns: str) -> list[Any]:
    """What another process gets of a Hub at `url`: count, last row and memory, or count, exit code, what and cure."""
    pytest.importorskip("datasets", reason="the extra [hub] is not installed")
    command = [sys.executable, "-c", CLIENT, spec, *columns]
    done = subprocess.run(command, env=client_env(url, home), cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1]))


def parquet(rows: list[dict[str, Any]], group: int) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=group, compression="none")
    return sink.getvalue()


def test_only_the_columns_asked_for_come_over_the_line(tmp_path: Path) -> None:
    """A Parquet dataset of a narrow and a wide column sends the narrow one; a path asks for its column."""
    rows = [{"chat": [{"content": f"c{n}"}], "wide": f"{n}" * 4000} for n in range(4000)]
    with serving() as hub:
        hub.commit("me/pool", {"train.parquet": parquet(rows, 1 << 20), "x.md": b""})
        size = len(parquet(rows, 1 << 20))
        count, row, _ = ask(hub.url, tmp_path, "hf:me/pool", "chat.0.content", "none")
    assert (count, row) == (4000, {"chat": [{"content": "c3999"}], "chat.0.content": "c3999"})
    assert size > 50 << 20
    assert hub.sent < 15 << 20  # what is fetched ahead of the footer and of the column


def test_a_hub_stream_has_memory_that_does_not_grow(tmp_path: Path) -> None:
    """80 MB of row groups are read with what the first 20,000 rows took, and a little."""
    rows = [{"prompt": f"{n} {'x' * 1000}"} for n in range(80_000)]
    with serving() as hub:
        hub.commit("me/pool", {"train.parquet": parquet(rows, 1000)})
        count, _, hwm = ask(hub.url, tmp_path, "hf:me/pool", "prompt")
    assert count == 80_000
    assert hwm[-1] - hwm[1] < 60, hwm


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_stream_that_breaks_off_is_an_outside_failure(tmp_path: Path, kind: str) -> None:
    """After the library's own tries: exit code 3, and never a source that seems to end there."""
    rows = [{"prompt": f"{n} {'x' * 1000}"} for n in range(40_000)]
    with serving() as hub:
        hub.commit("me/pool", {f"train.{kind}": parquet(rows, 1000) if kind == "parquet" else lines(*rows)})
        hub.bytes_left = 35_000_000
        count, code, what, cure = ask(hub.url, tmp_path, "hf:me/pool", "prompt")
    assert 0 < count < 40_000
    assert code == 3
    assert what.startswith("the Hub did not answer: ")
    assert "nothing was written" in cure


def test_a_broken_file_of_the_hub_is_refused(tmp_path: Path) -> None:
    """A gzip cut short and a malformed line are the data's fault: exit code 2, with the row where it ends."""
    whole = lines(*({"prompt": f"{n * 7919 % 100_003}"} for n in range(50_000)))
    with serving() as hub:
        hub.commit("me/cut", {"train.jsonl.gz": gzip.compress(whole)[:-1000]})
        hub.commit("me/bad", {"train.jsonl": whole + b'{"prompt": \n'})
        cut = ask(hub.url, tmp_path / "1", "hf:me/cut", "prompt")
        bad = ask(hub.url, tmp_path / "2", "hf:me/bad", "prompt")
    assert cut[1:] == [
        2,
        "a compressed file of it is broken or cut short: Compressed file ended before the end-of-stream marker was "
        "reached",
        "give a revision that is whole",
    ]
    assert bad[1] == 2
    assert "JSON parse error" in bad[2]


def test_a_hub_that_refuses_says_how_to_get_in(tmp_path: Path) -> None:
    """A gated dataset, and a token that is not accepted, exit with 2 and the way in."""
    with serving() as hub:
        hub.commit("me/pool", {"train.jsonl": lines({"prompt": "a"})})
        hub.gated.add("me/pool")
        gated = ask(hub.url, tmp_path / "1", "hf:me/pool", "prompt")
        hub.gated.clear()
        hub.fail = 403
        refused = ask(hub.url, tmp_path / "2", "hf:me/pool", "prompt")
        hub.fail = 401
        unknown = ask(hub.url, tmp_path / "3", "hf:me/pool", "prompt")
    for count, code, _, cure in (gated, refused):
        assert (count, code, cure) == (0, 2, "accept the terms on its page, then `hf auth login` or set HF_TOKEN")
    assert unknown[1] == 2
    assert "hf auth login" in unknown[3]
