"""A table that breaks its contract is refused with the rule, how many rows break it, and the first key.

pytest tests/test_tables.py
"""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from deltadata import tables
from deltadata.errors import UserError
from deltadata.tables import PROMPTS, RESPONSES, SCORES, BrokenTable, Table, as_rows, check_keys, check_rows

ID, OTHER = "0123456789abcdef", "fedcba9876543210"


def turn(role: str | None, content: str | None) -> dict[str, str | None]:
    return {"role": role, "content": content}


QUESTION = [turn("user", "Why?")]
PROMPT: dict[str, Any] = {"prompt_id": ID, "prompt": QUESTION, "pool": "own"}
RESPONSE: dict[str, Any] = {"prompt_id": ID, "model": "strong", "sample": 0, "response": "So.", "finish_reason": "stop"}
SCORE: dict[str, Any] = {"prompt_id": ID, "model": "strong", "sample": 0, "scorer": "checks", "score": 0.5}
PAIRS = tables.pairs(["tokens"], ["finished", "texts_differ"])
PAIR: dict[str, Any] = {
    "prompt": QUESTION,
    "chosen": [turn("assistant", "Because.")],
    "rejected": [turn("assistant", "So.")],
    "prompt_id": ID,
    "pool": "own",
    "chosen_model": "strong",
    "rejected_model": "weak",
    "chosen_sample": 0,
    "rejected_sample": 0,
    "chosen_finish_reason": "stop",
    "rejected_finish_reason": "stop",
    "delta_tokens": 1.0,
}


def frame(table: Table, *rows: dict[str, Any]) -> pl.DataFrame:
    """A table of the contract's columns; what a row does not say is null."""
    return pl.DataFrame(as_rows(table, {name: [row.get(name) for row in rows] for name in table.schema.names}))


GOOD = [
    (PROMPTS, PROMPT),
    (PROMPTS, PROMPT | {"prompt": [turn("system", "Be brief."), *QUESTION, turn("assistant", "So."), *QUESTION]}),
    (PROMPTS, PROMPT | {"meta": "{}"}),
    (RESPONSES, RESPONSE),
    (RESPONSES, RESPONSE | {"response": "", "finish_reason": "length", "response_tokens": 0}),
    (RESPONSES, RESPONSE | {"response": None, "error": "too long", "finish_reason": "error"}),
    (SCORES, SCORE),
    (SCORES, SCORE | {"score": None}),
    (PAIRS, PAIR),
    (PAIRS, PAIR | {"delta_tokens": None, "chosen_tokens": 1}),
    (PAIRS, PAIR | {"rejected_model": "strong", "rejected_sample": 1}),
    (PAIRS, PAIR | {"rejected": PAIR["chosen"], "dropped_by": "texts_differ"}),
    (PAIRS, PAIR | {"rejected": [turn("assistant", " ")], "dropped_by": "finished"}),
]


@pytest.mark.parametrize(("table", "row"), GOOD)
def test_a_good_row_passes(table: Table, row: dict[str, Any]) -> None:
    """Every kind of row that the stages write fulfils its contract."""
    check_rows(table, frame(table, row), "here")
    check_keys(table, frame(table, row), "here")


BAD = [
    (
        PROMPTS,
        "prompt_id is 16 hex digits",
        PROMPT,
        [{"prompt_id": bad} for bad in (ID[:15], ID + "0", ID.upper(), None)],
    ),
    (
        PROMPTS,
        "ends with user",
        PROMPT,
        [{"prompt": bad} for bad in ([*QUESTION, turn("assistant", "So.")], [], None, [turn(None, "Why?")])],
    ),
    (
        PROMPTS,
        "no empty content",
        PROMPT,
        [
            {"prompt": [turn("user", "")]},
            {"prompt": [turn("user", " \n\t")]},
            {"prompt": [turn("user", None)]},
            {"prompt": [turn("system", None), *QUESTION]},
            {"prompt": [turn("system", ""), *QUESTION]},
        ],
    ),
    (PROMPTS, "pool is named", PROMPT, [{"pool": None}]),
    (RESPONSES, "text or error", RESPONSE, [{"response": None}, {"error": "it broke", "finish_reason": "error"}]),
    (RESPONSES, "known finish_reason", RESPONSE, [{"finish_reason": "eos"}, {"finish_reason": None}]),
    (
        RESPONSES,
        "error rows finish with error",
        RESPONSE,
        [{"finish_reason": "error"}, {"response": None, "error": "it broke"}],
    ),
    (SCORES, "finite or null", SCORE, [{"score": float("nan")}, {"score": float("inf")}, {"score": -float("inf")}]),
    (
        PAIRS,
        "sources differ",
        PAIR,
        [{"rejected_model": "strong"}, {"rejected_model": None}, {"chosen_model": None}],
    ),
    (PAIRS, "known reason", PAIR, [{"dropped_by": "bad luck"}, {"dropped_by": ""}]),
    (PAIRS, "kept texts differ", PAIR, [{"rejected": PAIR["chosen"]}, {"rejected": None}, {"chosen": []}]),
    (
        PAIRS,
        "kept texts are not empty",
        PAIR,
        [{"chosen": [turn("assistant", "")]}, {"rejected": [turn("assistant", " \n")]}],
    ),
    (PAIRS, "delta_tokens is finite or null", PAIR, [{"delta_tokens": float("nan")}, {"delta_tokens": float("-inf")}]),
]


@pytest.mark.parametrize(("table", "rule", "good", "changes"), BAD, ids=[bad[1] for bad in BAD])
def test_a_bad_row_is_refused_by_name(
    table: Table, rule: str, good: dict[str, Any], changes: list[dict[str, Any]]
) -> None:
    """Each bad row alone, and all of them behind a good one, meet their rule; null is bad; the first key is told."""
    for change in changes:
        with pytest.raises(BrokenTable, match=f"table {table.name} breaks the rule '{rule}' in 1 row"):
            check_rows(table, frame(table, good, good | change), "here")
    named = [good | change | {"prompt_id": change.get("prompt_id", OTHER)} for change in changes]
    with pytest.raises(BrokenTable) as met:
        check_rows(table, frame(table, good, *named), "the file")
    key = ", ".join(f"{column}={named[0].get(column)!r}" for column in table.key)
    assert met.value.what == f"table {table.name} breaks the rule {rule!r} in {len(changes)} row(s), first at {key}"
    assert met.value.where == "the file"


def test_every_rule_has_a_bad_row_above() -> None:
    """A rule that no test breaks might hold for anything."""
    assert [(table.name, name) for table, name, *_ in BAD] == [
        (table.name, rule.name) for table in (PROMPTS, RESPONSES, SCORES, PAIRS) for rule in table.rules
    ]


def test_a_broken_table_ends_with_what_to_remove() -> None:
    """Edited or copied files are what breaks a table that lies there: exit code 2, and the cure."""
    assert issubclass(BrokenTable, UserError)
    with pytest.raises(BrokenTable) as met:
        check_rows(PROMPTS, frame(PROMPTS, PROMPT | {"pool": None}), "here")
    assert (met.value.exit_code, "remove it and run again" in str(met.value.cure)) == (2, True)


def test_rules_over_absent_columns_are_left_to_who_has_them() -> None:
    """A frame without the texts is still checked for what it has."""
    narrow = frame(PAIRS, PAIR | {"rejected_model": "strong"}).drop("prompt", "chosen", "rejected")
    with pytest.raises(BrokenTable, match="sources differ"):
        check_rows(PAIRS, narrow, "here")
    check_rows(PAIRS, narrow.drop("rejected_model"), "here")


@pytest.mark.parametrize(
    ("table", "row"),
    [(PROMPTS, PROMPT), (RESPONSES, RESPONSE), (SCORES, SCORE), (PAIRS, PAIR)],
    ids=lambda it: str(it)[:9],
)
def test_a_key_stands_once_and_is_never_null(table: Table, row: dict[str, Any]) -> None:
    """The same key twice is refused with both rows counted; a null in any key column is; other keys pass."""
    check_keys(table, frame(table, row, row | {"prompt_id": OTHER}), "here")
    with pytest.raises(BrokenTable) as met:
        check_keys(table, frame(table, row | {"prompt_id": OTHER}, row, row), "here")
    assert f"{', '.join(table.key)} is unique' in 2 row(s), first at prompt_id='{ID}'" in met.value.what
    for column in table.key:
        with pytest.raises(BrokenTable, match=f"'{column} is never null' in 1 row"):
            check_keys(table, frame(table, row, row | {column: None}), "here")


def test_a_prompt_id_is_the_same_for_ever() -> None:
    """Published ids and held-out splits depend on this number."""
    assert tables.prompt_id([{"role": "user", "content": "What is a rung?"}]) == "d30f7908b86cb3e3"
    assert tables.canonical([{"role": "user", "content": 'Größe "x"\n'}]) == '[["user","Größe \\"x\\"\\n"]]'


def test_a_prompt_id_depends_on_every_role_and_content() -> None:
    """Another role, content, order or number of messages gives another id; other keys of a message do not."""
    system, user = {"role": "system", "content": "a"}, {"role": "user", "content": "b"}
    conversations = [
        [user],
        [system, user],
        [user, system],
        [user, user],
        [{"role": "assistant", "content": "b"}],
        [{"role": "user", "content": "b "}],
        [{"role": "user", "content": "B"}],
        [{"role": "user", "content": '","b'}],
    ]
    assert len({tables.prompt_id(messages) for messages in conversations}) == len(conversations)
    assert tables.prompt_id([user]) == tables.prompt_id([{"content": "b", "role": "user", "name": "Ann"}])


def test_a_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    """Equal JSON values have equal fingerprints; the order of a list counts."""
    assert tables.fingerprint({"a": 1, "b": [1, 2]}) == tables.fingerprint({"b": [1, 2], "a": 1}) == "8baa73198470c7bb"
    assert tables.fingerprint([1, 2]) != tables.fingerprint([2, 1])


def test_a_rank_is_fixed_by_all_it_is_given() -> None:
    """The same seed and parts give the same number below 2**63; any other gives another."""
    assert tables.rank(0, "a", 1) == tables.rank(0, "a", 1)
    ranks = {tables.rank(*parts) for parts in ((0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "a1"))}
    assert len(ranks) == 5
    assert all(0 <= rank < 2**63 for rank in ranks)


def test_the_tables_have_the_published_columns() -> None:
    """Names, order and types that other people's scripts rely on."""
    text, count = pa.string(), pa.uint32()
    messages = pa.list_(pa.struct([("role", text), ("content", text)]))
    assert list(zip(PROMPTS.schema.names, PROMPTS.schema.types, strict=True)) == [
        ("prompt_id", text),
        ("prompt", messages),
        ("pool", text),
        ("meta", text),
    ]
    assert list(zip(RESPONSES.schema.names, RESPONSES.schema.types, strict=True)) == [
        ("prompt_id", text),
        ("model", text),
        ("sample", count),
        ("response", text),
        ("finish_reason", text),
        ("error", text),
        ("prompt_tokens", count),
        ("response_tokens", count),
    ]
    assert list(zip(PAIRS.schema.names, PAIRS.schema.types, strict=True)) == [
        ("prompt", messages),
        ("chosen", messages),
        ("rejected", messages),
        ("prompt_id", text),
        ("pool", text),
        ("chosen_model", text),
        ("rejected_model", text),
        ("chosen_sample", count),
        ("rejected_sample", count),
        ("chosen_tokens", count),
        ("rejected_tokens", count),
        ("chosen_finish_reason", text),
        ("rejected_finish_reason", text),
        ("delta_tokens", pa.float64()),
        ("dropped_by", text),
    ]
    assert [table.key for table in (PROMPTS, RESPONSES, SCORES, PAIRS)] == [
        ("prompt_id",),
        ("prompt_id", "model", "sample"),
        ("prompt_id", "model", "sample", "scorer"),
        ("prompt_id", "chosen_model", "chosen_sample", "rejected_model", "rejected_sample"),
    ]


def test_an_empty_table_has_the_columns_of_the_contract() -> None:
    """No rows, every column with its type."""
    assert tables.empty(RESPONSES).schema == frame(RESPONSES, RESPONSE).schema
    assert tables.empty(RESPONSES).height == 0
