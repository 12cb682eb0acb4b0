"""Text in streams: pairs.parquet, and `dataset/`, exactly what a push uploads.

polars decides which rows; here their text is copied, one row group at a time, by one Arrow writer.
    load_dataset("runs/quickstart/dataset")             # prompt, chosen, rejected, ... over the kept pairs
    load_dataset("runs/quickstart/dataset", "ladder")   # every response of every rung
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from deltadata import measure, tables
from deltadata.pair import EMPTY, ENDS, ORDER, ROW, SAME_TEXT
from deltadata.parquet import SHARD_BYTES, TextColumn, Writer, groups, open_parquet, read_columns, writing
from deltadata.store import disk
from deltadata.tables import (
    CHOSEN,
    CONTENT,
    DROPPED_BY,
    MODEL,
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
TRAIN, TEST = "train", "test"
DEFAULT, LADDER = "default", "ladder"


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
            table = _merged(contract.schema, batch, messages)
            tables.check_rows(contract, pl.DataFrame(table), str(path))
            writer.write(table)


def _merged(schema: pa.Schema, numbers: pl.DataFrame, text: dict[str, pa.Array]) -> pa.Table:
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


def in_test(share: float) -> pl.Expr:
    """Whether a prompt is held out: the first 8 hex digits of its id as a fraction, below `share`.

    Fixed by the prompt alone, so no added row moves another between the splits.
    """
    return pl.col(PROMPT_ID).str.slice(0, 8).str.to_integer(base=16, dtype=pl.Int64) < int(share * 2**32)


class Split(NamedTuple):
    """What was written under one name."""

    config: str
    split: str
    rows: int
    files: list[str]
    bytes: int  # of the rows as Arrow
    file_bytes: int
    digest: str  # SHA-256 over the files, in order


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new folder that takes the place of `folder` when the block ends well."""
    new, old = folder.with_name(f".tmp-{folder.name}"), folder.with_name(f".tmp-old-{folder.name}")
    with disk(folder):
        for left_over in (new, old):
            shutil.rmtree(left_over, ignore_errors=True)
        new.mkdir(parents=True)
        try:
            yield new
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(new, ignore_errors=True)


def default_columns(names: list[str]) -> list[str]:
    """The published columns of a pairs table: no sample index, no reason; deltas last."""
    left_out = {DROPPED_BY, *(of(side, SAMPLE) for side in SIDES)}
    return [name for name in names if name not in left_out]


def write_default(folder: Path, pairs: Path, holdout: float) -> list[Split]:
    """The kept pairs as config `default`, split by prompt; one pass over the pairs."""
    kept = pl.col(DROPPED_BY).is_null()
    which = {TRAIN: kept & ~in_test(holdout), TEST: kept & in_test(holdout)}
    shards = {name: Shards(folder, DEFAULT, name) for name in which}
    for group in groups(pairs):
        rows = group.select(default_columns(group.schema.names))
        chosen = pl.DataFrame(group.select([PROMPT_ID, DROPPED_BY])).select(**which)
        for name, into in shards.items():
            if chosen[name].any():
                into.write(rows.filter(chosen[name].to_arrow()))
    return [split for into in shards.values() if (split := into.close()).rows]


def places(prompts: Path, responses: dict[str, list[Path]], samples: dict[str, int]) -> pl.DataFrame:
    """Where each response of a collected prompt lies and all but its text, in order of prompt, rung and sample."""
    order = read_columns(prompts, [PROMPT_ID]).select(tables.id_number()).with_row_index(ORDER)
    narrow = [name for name in tables.RESPONSES.schema.names if name not in (tables.RESPONSE, MODEL)]
    rungs, frames = pl.Enum(list(responses)), []
    for rung, paths in responses.items():
        rows = pl.concat([read_columns(path, narrow) for path in paths]).with_row_index(ROW)
        rows = rows.filter(pl.col(SAMPLE) < samples[rung]).with_columns(tables.id_number())
        rows = rows.with_columns(pl.lit(rung, rungs).alias(MODEL), pl.col(tables.FINISH).cast(ENDS))
        frames.append(rows.join(order, on=PROMPT_ID).drop(PROMPT_ID))
    return pl.concat(frames).sort(ORDER, MODEL, SAMPLE)


def write_ladder(folder: Path, prompts: Path, places: pl.DataFrame, responses: dict[str, list[Path]]) -> Split:
    """Every response (failed ones with their reason) as config `ladder`, in order of prompt, rung and sample.

    `places` has one row per response: its place and all of it but the text.
    """
    kept = [name for name in tables.RESPONSES.schema.names if name != PROMPT_ID]
    schema = pa.schema([*tables.PROMPTS.schema, *(tables.RESPONSES.schema.field(name) for name in kept)])
    schema = schema.remove(schema.get_field_index(tables.META))
    shards = Shards(folder, LADDER, TRAIN)
    known = read_columns(prompts, [PROMPT_ID, tables.POOL])
    asked, texts = TextColumn([prompts], PROMPT), LadderColumn(responses, tables.RESPONSE)
    for batch in places.iter_slices(BATCH):
        text = {PROMPT: asked.take(batch[ORDER]), tables.RESPONSE: texts.take(batch[MODEL], batch[ROW])}
        shards.write(_merged(schema, batch.hstack(known[batch[ORDER]]), text))
    return shards.close()


class Shards:
    """Streams rows into data/<config>/<split>-00000-of-000NN.parquet, a new file every SHARD_BYTES."""

    def __init__(self, folder: Path, config: str, split: str) -> None:
        self._folder, self._config, self._split = folder, config, split
        self._data = folder / "data" / config
        self._data.mkdir(parents=True, exist_ok=True)
        self._shards: list[Path] = []
        self._writer: Writer | None = None
        self._rows = self._bytes = 0

    def write(self, table: pa.Table) -> None:
        if self._writer is None or self._writer.bytes > SHARD_BYTES:
            if self._writer:
                self._writer.close()
            self._shards.append(self._data / f"{self._split}-{len(self._shards):05d}")
            self._writer = Writer(self._shards[-1], table.schema.remove_metadata())
        self._writer.write(table)
        self._rows, self._bytes = self._rows + table.num_rows, self._bytes + table.nbytes

    def close(self) -> Split:
        if self._writer:
            self._writer.close()
        named = [shard.rename(f"{shard}-of-{len(self._shards):05d}.parquet") for shard in self._shards]
        digest = hashlib.sha256()
        for path in named:
            with path.open("rb") as file:
                for block in iter(lambda: file.read(1 << 20), b""):
                    digest.update(block)
        files = [str(path.relative_to(self._folder)) for path in named]
        size = sum(path.stat().st_size for path in named)
        return Split(self._config, self._split, self._rows, files, self._bytes, size, digest.hexdigest())
