"""The tables: their columns, their keys and their named rules. Every column name is spelt here and nowhere else.

A rule is an expression that holds for every good row. Null counts as broken: an unknown must not slip through.
    deltadata show RUN pairs        # prints a table's rows and the rules it was checked by
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from deltadata.errors import UserError

PROMPT_ID, PROMPT, POOL, META = "prompt_id", "prompt", "pool", "meta"
MODEL, SAMPLE, RESPONSE, FINISH, ERROR = "model", "sample", "response", "finish_reason", "error"
PROMPT_TOKENS, RESPONSE_TOKENS = "prompt_tokens", "response_tokens"
SCORER, SCORE = "scorer", "score"
KEY, DRAW, REPLY, VERDICT, REASON = "key", "draw", "reply", "verdict", "reason"
OTHER_MODEL, OTHER_SAMPLE = "other_model", "other_sample"
CHOSEN, REJECTED = "chosen", "rejected"
SIDES = (CHOSEN, REJECTED)
DROPPED_BY = "dropped_by"
ROLE, CONTENT = "role", "content"
TOKENS = "tokens"
DELTA = "delta_"
SIMILARITY = "similarity"  # of the two sides' texts: symmetric, so no delta
PREFERENCE_TYPE = "preference_type"  # which way a pair was found, where there are two
BY_ORDER, BY_SCORE, BY_BOTH = "order", "score", "both"
SOFT_LABEL = "soft_label"  # the share of scorers that prefer the chosen side: 1 - x with the sides swapped, so no delta


def of(side: str, column: str) -> str:
    """The pairs' column that holds `column` of one side: of(CHOSEN, MODEL) is `chosen_model`."""
    return f"{side}_{column}"


def delta(measure: str) -> str:
    """The pairs' column of a measure: chosen - rejected."""
    return DELTA + measure


def measured(measure: str) -> str:
    """The pairs' column of anything that is measured."""
    return SIMILARITY if measure == SIMILARITY else delta(measure)


class Rule(NamedTuple):
    """A promise every row keeps; `holds` is a boolean expression."""

    name: str
    holds: pl.Expr


class Table(NamedTuple):
    """A contract: Arrow schema, key columns, rules."""

    name: str
    schema: pa.Schema
    key: tuple[str, ...]
    rules: tuple[Rule, ...]


class BrokenTable(UserError):
    """A table that breaks its contract: names the rule, how many rows break it and the first key."""


def _known(column: str) -> pl.Expr:
    return pl.col(column).is_null() | pl.col(column).is_finite()


MESSAGES = pa.list_(pa.struct([pa.field(ROLE, pa.string()), pa.field(CONTENT, pa.string())]))
_content = pl.element().struct.field(CONTENT).str.strip_chars().str.len_bytes()

PROMPTS = Table(
    "prompts",
    pa.schema([(PROMPT_ID, pa.string()), (PROMPT, MESSAGES), (POOL, pa.string()), (META, pa.string())]),
    (PROMPT_ID,),
    (
        Rule("prompt_id is 16 hex digits", pl.col(PROMPT_ID).str.contains("^[0-9a-f]{16}$")),
        Rule("ends with user", pl.col(PROMPT).list.last().struct.field(ROLE) == "user"),
        Rule("no empty content", pl.col(PROMPT).list.eval((_content > 0).fill_null(False)).list.all()),
        Rule("pool is named", pl.col(POOL).is_not_null()),
    ),
)

RESPONSES = Table(
    "responses",
    pa.schema(
        [
            (PROMPT_ID, pa.string()),
            (MODEL, pa.string()),
            (SAMPLE, pa.uint32()),
            (RESPONSE, pa.string()),
            (FINISH, pa.string()),
            (ERROR, pa.string()),
            (PROMPT_TOKENS, pa.uint32()),
            (RESPONSE_TOKENS, pa.uint32()),
        ]
    ),
    (PROMPT_ID, MODEL, SAMPLE),
    (
        Rule("text or error", pl.col(RESPONSE).is_not_null() != pl.col(ERROR).is_not_null()),
        Rule("known finish_reason", pl.col(FINISH).is_in(["stop", "length", "error"])),
        Rule("error rows finish with error", pl.col(ERROR).is_not_null() == (pl.col(FINISH) == "error")),
    ),
)

SCORES = Table(
    "scores",
    pa.schema(
        [
            (PROMPT_ID, pa.string()),
            (MODEL, pa.string()),
            (SAMPLE, pa.uint32()),
            (SCORER, pa.string()),
            (SCORE, pa.float64()),
        ]
    ),
    (PROMPT_ID, MODEL, SAMPLE, SCORER),
    (Rule("finite or null", _known(SCORE)),),
)

JUDGEMENTS = Table(
    "judgements",
    pa.schema(
        [
            (KEY, pa.string()),
            (PROMPT_ID, pa.string()),
            (MODEL, pa.string()),
            (SAMPLE, pa.uint32()),
            (OTHER_MODEL, pa.string()),
            (OTHER_SAMPLE, pa.uint32()),
            (DRAW, pa.uint32()),
            (REPLY, pa.string()),
            (VERDICT, pa.string()),
            (REASON, pa.string()),
            (PROMPT_TOKENS, pa.uint32()),
            (RESPONSE_TOKENS, pa.uint32()),
        ]
    ),
    (KEY,),
    (
        Rule("key is 16 hex digits", pl.col(KEY).str.contains("^[0-9a-f]{16}$")),
        Rule("verdict or reason", pl.col(VERDICT).is_not_null() != pl.col(REASON).is_not_null()),
        Rule("a verdict was said", pl.col(VERDICT).is_null() | pl.col(REPLY).is_not_null()),
        Rule("another response or none", pl.col(OTHER_MODEL).is_null() == pl.col(OTHER_SAMPLE).is_null()),
    ),
)

PAIR_KEY = (PROMPT_ID, *(of(side, column) for side in SIDES for column in (MODEL, SAMPLE)))
_SIDE_FACTS = ((MODEL, pa.string()), (SAMPLE, pa.uint32()), (TOKENS, pa.uint32()), (FINISH, pa.string()))


PROMPTS_FILE = f"{PROMPTS.name}.parquet"
PAIRS_NAME, FILTER_NAME = "pairs", "filter"  # in the record: the table, and its column `dropped_by`
PAIRS_FILE = f"{PAIRS_NAME}.parquet"
LEFT_OUT_NAME = "left_out"
LEFT_OUT_FILE = f"{LEFT_OUT_NAME}.parquet"


def ladder_name(rung: str) -> str:
    """A rung's share of the responses, as the record names it."""
    return f"{RESPONSES.name}/{rung}"


def id_number() -> pl.Expr:
    """prompt_id as the 64-bit number it is: joins on it take a fraction of the memory. Null for what is no id."""
    return pl.col(PROMPT_ID).str.to_integer(base=16, dtype=pl.UInt64, strict=False)


def scores_name(scorer: str) -> str:
    """A scorer's scores, as the record names them."""
    return f"{SCORES.name}/{scorer}"


def scored(scorer: str) -> str:
    """The published ladder's column of a scorer's scores."""
    return f"{SCORE}_{scorer}"


def last_text(column: str) -> pl.Expr:
    """The text of the last message of a messages column."""
    return pl.col(column).list.last().struct.field(CONTENT)


def pairs(measures: list[str], known_reasons: list[str], mixed: bool = False, soft_label: bool = False) -> Table:
    """The pairs' contract for these measures; `known_reasons` are the values `dropped_by` may take.

    `mixed`: there are two kinds of pairs, and a column says which; `soft_label`: there is one.
    """
    fields: list[tuple[str, pa.DataType]] = [(PROMPT, MESSAGES), (CHOSEN, MESSAGES), (REJECTED, MESSAGES)]
    fields += [(PROMPT_ID, pa.string()), (POOL, pa.string())]
    fields += [(of(side, column), kind) for column, kind in _SIDE_FACTS for side in SIDES]
    fields += [(PREFERENCE_TYPE, pa.string())] if mixed else []
    fields += [(SOFT_LABEL, pa.float64())] if soft_label else []
    fields += [(measured(measure), pa.float64()) for measure in measures]
    kept = pl.col(DROPPED_BY).is_null()
    same_source = pl.all_horizontal(pl.col(of(CHOSEN, c)) == pl.col(of(REJECTED, c)) for c in (MODEL, SAMPLE))
    return Table(
        PAIRS_NAME,
        pa.schema([*fields, (DROPPED_BY, pa.string())]),
        PAIR_KEY,
        (
            Rule("sources differ", ~same_source),
            Rule("known reason", kept | pl.col(DROPPED_BY).is_in(known_reasons)),
            Rule("kept texts differ", ~kept | (last_text(CHOSEN) != last_text(REJECTED))),
            Rule("kept texts are not empty", ~kept | _both_not_empty()),
            *(Rule(f"{column} is finite or null", _known(column)) for column in map(measured, measures)),
            *([Rule("known preference_type", _KNOWN_TYPE)] if mixed else []),
            *([Rule("soft_label is a share or null", _SHARE)] if soft_label else []),
        ),
    )


_KNOWN_TYPE = pl.col(PREFERENCE_TYPE).is_in([BY_ORDER, BY_SCORE, BY_BOTH])
_SHARE = pl.col(SOFT_LABEL).is_null() | pl.col(SOFT_LABEL).is_between(0, 1)


def _both_not_empty() -> pl.Expr:
    return pl.all_horizontal(last_text(side).str.strip_chars() != "" for side in SIDES)


def check_rows(table: Table, frame: pl.DataFrame, where: str) -> None:
    """Refuse `frame` when a row breaks a rule. Rules over columns that the frame lacks are left to who holds them.

    Raises BrokenTable with the rule's name, the count and the first key.
    """
    have = set(frame.columns)
    rules = [rule for rule in table.rules if set(rule.holds.meta.root_names()) <= have]
    broken = frame.select((~rule.holds.fill_null(False)).any().alias(rule.name) for rule in rules).row(0)
    for rule in (rule for rule, fails in zip(rules, broken, strict=True) if fails):
        _refuse(table, rule.name, frame.filter(~rule.holds.fill_null(False)), where)


def check_keys(table: Table, keys: pl.DataFrame, where: str) -> None:
    """Refuse `keys` (the key columns of a whole table) when one is null or stands twice. Raises BrokenTable."""
    for column in table.key:
        if keys[column].null_count():
            _refuse(table, f"{column} is never null", keys.filter(pl.col(column).is_null()), where)
    twice = keys.select(table.key).is_duplicated()
    if twice.any():
        _refuse(table, f"{', '.join(table.key)} is unique", keys.filter(twice), where)


def _refuse(table: Table, rule: str, broken: pl.DataFrame, where: str) -> None:
    key = ", ".join(f"{column}={broken[column][0]!r}" for column in table.key if column in broken.columns)
    raise BrokenTable(
        f"table {table.name} breaks the rule {rule!r} in {broken.height} row(s), first at {key}",
        where=where,
        cure="this table was not written; if that file was edited or copied by hand, remove it and run again",
    )


def canonical(messages: list[dict[str, str]]) -> str:
    """One text for one conversation: compact JSON of role and content, in order."""
    return json.dumps([[m[ROLE], m[CONTENT]] for m in messages], ensure_ascii=False, separators=(",", ":"))


def prompt_id(messages: list[dict[str, str]]) -> str:
    """16 hex digits of the SHA-256 of the canonical messages."""
    return hashlib.sha256(canonical(messages).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def fingerprint(value: Any) -> str:
    """16 hex digits for any JSON value, the same on every machine."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def rank(seed: int, *parts: Any) -> int:
    """A number in [0, 2**63) fixed by its arguments: seeded choices that no added row reshuffles."""
    text = "\x1f".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1


def empty(table: Table) -> pl.DataFrame:
    """No rows, the right columns."""
    # `empty_table` of a schema would import pandas where it is installed: a tenth of a second of every command.
    return pl.DataFrame(pl.from_arrow(pa.Table.from_batches([], table.schema)))


def as_rows(table: Table, columns: Mapping[str, list[Any]]) -> pa.Table:
    """An Arrow table of the contract's schema from Python columns; a missing column is all null."""
    height = len(next(iter(columns.values())))
    return pa.table(
        [pa.array(columns.get(field.name, [None] * height), field.type) for field in table.schema], schema=table.schema
    )
