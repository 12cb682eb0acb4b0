"""The pairs' text in streams: from the parts of the ladder into pairs.parquet.

polars decides which rows; here their text is copied, a batch at a time, by one Arrow writer.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import polars as pl
import pyarrow as pa

from deltadata import measure, mixed, tables
from deltadata.pair import EMPTY, ORDER, ROW, SAME_TEXT
from deltadata.parquet import TextColumn, groups, open_parquet, read_columns, writing
from deltadata.tables import (
    CHOSEN,
    CONTENT,
    DROPPED_BY,
    MODEL,
    PREFERENCE_TYPE,
    PROMPT,
    PROMPT_ID,
    PROMPT_TOKENS,
    REJECTED,
    ROLE,
    SAMPLE,
    SIDES,
    SIMILARITY,
    of,
)

BATCH = 1024  # pairs whose text is in memory at once


def write_pairs(
    path: Path, contract: tables.Table, numbers: pl.DataFrame, prompts: Path, responses: dict[str, list[Path]]
) -> None:
    """Write `numbers` (all columns of the contract but the messages, and the rows' places) with their text.

    Raises BrokenTable, leaving what was there, when a row breaks the contract.
    """
    tables.check_keys(contract, numbers, str(path))
    prompt_texts = TextColumn([prompts], PROMPT)
    # Chosen and rejected walk a rung at their own pace: each side has its own reader.
    texts = {side: LadderColumn(responses, tables.RESPONSE) for side in SIDES}
    with writing(path, contract.schema) as writer:
        for batch in numbers.iter_slices(BATCH):
            messages = {PROMPT: prompt_texts.take(batch[ORDER])}
            for side in SIDES:
                messages[side] = assistant_turns(texts[side].take(batch[of(side, MODEL)], batch[of(side, ROW)]))
            table = merged(contract.schema, batch, messages)
            tables.check_rows(contract, pl.DataFrame(table), str(path))
            writer.write(table)


def merged(schema: pa.Schema, numbers: pl.DataFrame, text: dict[str, pa.Array]) -> pa.Table:
    """The columns of `schema`: text where there is one, else numbers."""
    narrow = numbers.select(name for name in schema.names if name not in text).to_arrow()
    columns = [text[field.name] if field.name in text else narrow[field.name] for field in schema]
    return pa.table([column.cast(field.type) for column, field in zip(columns, schema, strict=True)], schema=schema)


def similarities(numbers: pl.DataFrame, responses: dict[str, list[Path]]) -> pl.Series:
    """How alike the two texts of each pair are (see `measure.similarity`), read in a pass of its own."""
    texts = {side: LadderColumn(responses, tables.RESPONSE) for side in SIDES}
    found = [pl.Series(SIMILARITY, [], dtype=pl.Float64)]
    for batch in numbers.iter_slices(BATCH):
        two = (pl.Series(texts[side].take(batch[of(side, MODEL)], batch[of(side, ROW)])) for side in SIDES)
        found.append(measure.similarity(*two).alias(SIMILARITY))
    return pl.concat(found)


def pair_numbers(pairs: Path, responses: dict[str, list[Path]], sides: Collection[str] = ()) -> pl.DataFrame:
    """The pairs without their text, what is known of the texts, and both sides' values of the measures in `sides`."""
    text = {side: tables.last_text(side) for side in SIDES}
    wanted = [name for name in measure.OF_TEXT if name in sides]
    narrow = [
        pl.DataFrame(group).select(
            pl.exclude([PROMPT, *SIDES]),
            *((text[side].str.strip_chars() == "").alias(of(side, EMPTY)) for side in SIDES),
            (text[CHOSEN] == text[REJECTED]).alias(SAME_TEXT),
            *(measure.of_text(name, text[side]).alias(of(side, name)) for name in wanted for side in SIDES),
        )
        for group in groups(pairs, without=(PROMPT,))
    ]
    numbers = pl.concat(narrow)
    if PREFERENCE_TYPE in numbers.columns:
        numbers = numbers.with_columns(mixed.contradicted(numbers))
    for side in SIDES if PROMPT_TOKENS in sides else ():
        numbers = _with_prompt_tokens(numbers, side, responses)
    return numbers


def _with_prompt_tokens(numbers: pl.DataFrame, side: str, responses: dict[str, list[Path]]) -> pl.DataFrame:
    columns = [*tables.RESPONSES.key, PROMPT_TOKENS]
    counted = pl.concat(read_columns(path, columns) for paths in responses.values() for path in paths)
    named = counted.rename({name: of(side, name) for name in columns if name != PROMPT_ID})
    key = [PROMPT_ID, of(side, MODEL), of(side, SAMPLE)]
    return numbers.join(named, on=key, how="left", maintain_order="left")


class LadderColumn:
    """One column of all rungs' parts, addressed by rung and row."""

    def __init__(self, responses: dict[str, list[Path]], column: str) -> None:
        self._rungs = {rung: TextColumn(files, column) for rung, files in responses.items()}

    def take(self, models: pl.Series, rows: pl.Series) -> pa.Array:
        """One value per row, in that order, whatever rungs they come from."""
        found, places = [], []
        for rung in models.unique(maintain_order=True):
            here = (models == rung).arg_true()
            found.append(self._rungs[rung].take(rows.gather(here)))
            places.append(here)
        if len(found) == 1:
            return found[0]
        return pa.chunked_array(found).take(pl.concat(places).arg_sort().to_arrow()).combine_chunks()


def assistant_turns(texts: pa.Array) -> pa.Array:
    """Each text as a list of one assistant message."""
    height = len(texts)
    turns = pa.StructArray.from_arrays([pa.repeat("assistant", height), texts.cast(pa.string())], [ROLE, CONTENT])
    return pa.ListArray.from_arrays(pl.int_range(height + 1, dtype=pl.Int32, eager=True).to_arrow(), turns)


def redrop(path: Path, dropped: pl.Series) -> None:
    """Give every row of a pairs file a new `dropped_by`; the text streams past."""
    with open_parquet(path) as file:
        schema = file.schema_arrow.remove_metadata()
    at = 0
    with writing(path, schema) as writer:
        for group in groups(path):
            here = dropped.slice(at, group.num_rows).to_arrow().cast(pa.string())
            writer.write(group.set_column(schema.get_field_index(DROPPED_BY), DROPPED_BY, here))
            at += group.num_rows
