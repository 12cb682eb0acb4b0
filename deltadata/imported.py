"""Responses that already exist, as a rung of the ladder: other people's answers to the prompts of this recipe.

    generate: {rungs: [{name: gemma-7b-it, responses: gemma-7b-it.json, prompt: instruction, response: output}]}

`deltadata generate RECIPE` then reads that file instead of loading a model. Both known layouts are taken: a prompt and
a text, or a conversation that ends with the response (one column for each model: the wide ladder). With `each:
completions` the responses are items of a list in that column (see `nested`).

    - {name: qwen2.5-3b, responses: "hf:owner/ladder", prompt: qwen-2.5-3b-instruct, response: qwen-2.5-3b-instruct}

takes the turns before the response for the prompt, whatever other columns there are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from deltadata import tables
from deltadata.errors import UserError
from deltadata.layouts import answer
from deltadata.nested import read_each
from deltadata.rows import (
    LOOK_AHEAD,
    BadRow,
    Row,
    bad_row,
    conversation,
    first_three,
    no_such_column,
    text,
)
from deltadata.sections import Rung

CHUNK = 1024
NULL_RESPONSE = "null in the source"
_STOPPED = ("stop", "eos", "end_turn", "stop_sequence", "eos_token")
_TOKENS = (tables.PROMPT_TOKENS, tables.RESPONSE_TOKENS)


class Imported(NamedTuple):
    """`responses` has the columns of tables.RESPONSES. `counts`: read = matched + unmatched + bad + not_selected.
    `bad` has {where, why, row} of each bad row."""

    responses: pa.Table
    counts: dict[str, int]
    bad: list[dict[str, str]]


def imported_responses(rung: Rung, prompts: Collection[str], recipe_dir: Path) -> Imported:
    """The responses of `rung.responses` to known prompts, in file order; a prompt's responses are samples 0, 1, ...

    `prompts` are the known prompt ids, or maps them to the prompts' texts (used for a message only). A row's prompt is
    its column `rung.prompt` (an id where that column is called so); the messages before the response where there is no
    such column, or it is that of the response itself. "" is a response; null is a row with an error. Its finish_reason
    is `stop` where the file says stop, eos, end_turn, stop_sequence or eos_token (in any case), or nothing; whatever
    else it says (max_tokens, content_filter, ...) is `length`, which is not finished. A row whose prompt is not among
    the known is unmatched: counted, not kept.

    Raises UserError when a column is missing, nothing is selected or nothing matches, or the source cannot be read;
    OutsideError when the Hub does not answer.
    """
    assert rung.responses is not None, "a rung with responses"
    counts: Counter[str] = Counter(read=0, matched=0, unmatched=0, bad=0, not_selected=0)
    bad: list[dict[str, str]] = []
    samples: Counter[str] = Counter()
    parts, rows = [tables.RESPONSES.schema.empty_table()], []
    stranger = ""
    for row in _rows(rung, recipe_dir):
        counts["read"] += 1
        try:
            if not _selected(row, rung):
                counts["not_selected"] += 1
                continue
            prompt, facts = _response(row, rung)
        except BadRow as why:
            counts["bad"] += 1
            bad.append(bad_row(row, str(why)))
            continue
        prompt_id = prompt if isinstance(prompt, str) else tables.prompt_id(prompt)
        if prompt_id not in prompts:
            counts["unmatched"] += 1
            stranger = stranger or f"{row.where}: {_short(prompt)}"
            continue
        counts["matched"] += 1
        key = {tables.PROMPT_ID: prompt_id, tables.MODEL: rung.name, tables.SAMPLE: samples[prompt_id]}
        samples[prompt_id] += 1
        rows.append(key | facts)
        if len(rows) == CHUNK:
            parts.append(pa.Table.from_pylist(rows, tables.RESPONSES.schema))
            rows = []
    if not counts["matched"]:
        raise _nothing(rung, prompts, counts, bad, stranger)
    parts.append(pa.Table.from_pylist(rows, tables.RESPONSES.schema))
    return Imported(pa.concat_tables(parts), dict(counts), bad)


def _rows(rung: Rung, recipe_dir: Path) -> Iterator[Row]:
    """The source's rows. Raises UserError when no row, or none of the first LOOK_AHEAD, has a column that is needed."""
    path = rung.responses or ""
    needed = dict.fromkeys([*rung.select, rung.response])
    readable = 0
    answers = 0  # rows of which the prompt can be had
    whose = f"rung {rung.name!r}"
    for row in read_each(path, recipe_dir, [*needed, rung.prompt, tables.FINISH, *_TOKENS], rung.each, whose):
        if row.value is not None:
            readable += 1
            needed = {name: None for name in needed if name not in row.value}
            answers += rung.prompt in row.value or isinstance(row.value.get(rung.response), list)
        yield row
        if readable == LOOK_AHEAD and (needed or not answers):
            break
    for column in [*needed, *([] if answers else [rung.prompt])]:
        if readable:
            ids = tables.PROMPT_ID if column == rung.prompt else None
            found = read_each(path, recipe_dir, None, rung.each)
            raise no_such_column(column, path, recipe_dir, whose, ids, found)


def _selected(row: Row, rung: Rung) -> bool:
    if row.value is None:
        raise BadRow(row.problem)
    # CSV has text only: there 1 is "1" and true is "true".
    return all(
        name in row.value and (row.value[name] == wanted or row.value[name] == json.dumps(wanted))
        for name, wanted in rung.select.items()
    )


def _response(row: Row, rung: Rung) -> tuple[list[dict[str, str]] | str, dict[str, Any]]:
    """A row's prompt (messages, or an id) and its columns of the responses table. Raises BadRow."""
    values = row.value or {}
    if rung.response not in values:
        raise BadRow(f"no column {rung.response!r}")
    given: Any = values[rung.response]
    history, own = None, rung.prompt != rung.response
    if isinstance(given, list):
        history, given = given[:-1], answer(given, rung.response)
    if own and rung.prompt in values:
        asked = values[rung.prompt]
        prompt = text(asked, rung.prompt) if rung.prompt == tables.PROMPT_ID else conversation(asked, rung.prompt)
    elif history is not None:
        prompt = conversation(history, f"{rung.response} before the response")
    elif own:
        raise BadRow(f"no column {rung.prompt!r}")
    else:
        had = "null" if given is None else f"of type {type(given).__name__}"
        raise BadRow(f"{rung.response} is {had}; to be the prompt as well it must be a conversation")
    facts = {name: _count(values.get(name)) for name in _TOKENS}
    if given is None:
        return prompt, facts | {tables.ERROR: NULL_RESPONSE, tables.FINISH: "error"}
    return prompt, facts | {
        tables.RESPONSE: text(given, rung.response, may_be_empty=True),
        tables.FINISH: "stop" if _ended(values.get(tables.FINISH)) else "length",
    }


def _ended(reason: Any) -> bool:
    """Whether a finish_reason says that the response ended by itself; none known is taken for yes."""
    missing = reason is None or reason == "" or reason != reason  # an empty cell is "" in CSV, NaN to pandas
    return missing or str(reason).lower() in _STOPPED


def _count(value: Any) -> int | None:
    """A token count where there is one; CSV has it as text, pandas as a float."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 11:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32 else None


def _nothing(
    rung: Rung, prompts: Collection[str], counts: Counter[str], bad: list[dict[str, str]], stranger: str
) -> UserError:
    """Why there is not one response to a known prompt."""
    whose = f"rung {rung.name!r}"
    if counts["unmatched"]:
        known = next(iter(prompts.values() if isinstance(prompts, Mapping) else prompts), "")
        return UserError(
            f"{whose}: none of its {counts['unmatched']} responses answers a prompt of the pools\n"
            f"  {stranger}\n  a prompt of the pools: {_short(known)}",
            where=rung.responses,
            cure="point `prompt:` at the pools' prompts, or say `prompt: prompt_id`; texts must be equal to the letter",
        )
    if bad:
        what = f"{whose}: all {len(bad)} selected rows are bad: {first_three(bad)}"
        return UserError(what, where=rung.responses, cure="mend the rows, or name other columns")
    if counts["read"]:
        what = f"{whose}: none of its {counts['read']} rows has {rung.select}"
        return UserError(what, where=rung.responses, cure="give `select:` values that the columns have")
    return UserError(f"{whose}: the source has no rows", where=rung.responses, cure="give a file with rows")


def _short(prompt: list[dict[str, str]] | str) -> str:
    shown = prompt if isinstance(prompt, str) else tables.canonical(prompt)
    return repr(shown if len(shown) <= 120 else shown[:120] + "…")
