"""`dataset/`: exactly what a push uploads, the card aside.

load_dataset("runs/quickstart/dataset")             # prompt, chosen, rejected, ... over the kept pairs
load_dataset("runs/quickstart/dataset", "ladder")   # every response of every rung, with its scores
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from deltadata import tables
from deltadata.content import Content
from deltadata.pair import ENDS, ORDER, ROW
from deltadata.pair_text import BATCH, LadderColumn, merged
from deltadata.parquet import SHARD_BYTES, TextColumn, Writer, groups, read_columns
from deltadata.tables import DROPPED_BY, MODEL, PROMPT, PROMPT_ID, SAMPLE, SIDES, of

TRAIN, TEST = "train", "test"
DEFAULT, LADDER = "default", "ladder"


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
    content: str  # hash of the rows, whatever files they lie in (see `content`)
    features: list[dict[str, Any]]  # the columns, as a card's dataset_info states them


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


def places(
    prompts: Path, responses: dict[str, list[Path]], samples: dict[str, int], scores: dict[str, pl.DataFrame]
) -> pl.DataFrame:
    """Where each response of a collected prompt lies and all but its text, in order of prompt, rung and sample.

    `scores` by scorer, one column of its name beside the response's key.
    """
    order = read_columns(prompts, [PROMPT_ID]).select(tables.id_number()).with_row_index(ORDER)
    narrow = [name for name in tables.RESPONSES.schema.names if name not in (tables.RESPONSE, MODEL)]
    rungs, frames = pl.Enum(list(responses)), []
    for rung, paths in responses.items():
        rows = pl.concat([read_columns(path, narrow) for path in paths]).with_row_index(ROW)
        rows = rows.filter(pl.col(SAMPLE) < samples[rung]).with_columns(tables.id_number())
        rows = rows.with_columns(pl.lit(rung, rungs).alias(MODEL), pl.col(tables.FINISH).cast(ENDS))
        frames.append(rows.join(order, on=PROMPT_ID).drop(PROMPT_ID))
    found = pl.concat(frames)
    key = [ORDER, MODEL, SAMPLE]
    for scorer, given in scores.items():
        here = given.filter(pl.col(MODEL).is_in(list(responses)))  # not of a rung that the recipe no longer has
        here = here.with_columns(tables.id_number(), pl.col(MODEL).cast(rungs)).join(order, on=PROMPT_ID)
        found = found.join(here.select(*key, pl.col(scorer).alias(tables.scored(scorer))), on=key, how="left")
    return found.sort(key)


def write_ladder(folder: Path, prompts: Path, places: pl.DataFrame, responses: dict[str, list[Path]]) -> Split:
    """Every response (failed ones with their reason) as config `ladder`, in order of prompt, rung and sample.

    `places` has one row per response: its place and all of it but the text, scores last.
    """
    kept = [name for name in tables.RESPONSES.schema.names if name != PROMPT_ID]
    schema = pa.schema([*tables.PROMPTS.schema, *(tables.RESPONSES.schema.field(name) for name in kept)])
    schema = schema.remove(schema.get_field_index(tables.META))
    for name in places.columns:
        schema = schema.append(pa.field(name, pa.float64())) if name.startswith(tables.scored("")) else schema
    shards = Shards(folder, LADDER, TRAIN)
    known = read_columns(prompts, [PROMPT_ID, tables.POOL])
    asked, texts = TextColumn([prompts], PROMPT), LadderColumn(responses, tables.RESPONSE)
    for batch in places.iter_slices(BATCH):
        text = {PROMPT: asked.take(batch[ORDER]), tables.RESPONSE: texts.take(batch[MODEL], batch[ROW])}
        shards.write(merged(schema, batch.hstack(known[batch[ORDER]]), text))
    return shards.close()


class Shards:
    """Streams rows into data/<config>/<split>-00000-of-000NN.parquet, a new file every SHARD_BYTES."""

    def __init__(self, folder: Path, config: str, split: str) -> None:
        self._folder, self._config, self._split = folder, config, split
        self._data = folder / "data" / config
        self._data.mkdir(parents=True, exist_ok=True)
        self._shards: list[Path] = []
        self._writer: Writer | None = None
        self._content, self._bytes = Content(), 0
        self._schema = pa.schema([])

    def write(self, table: pa.Table) -> None:
        if self._writer is None or self._writer.bytes > SHARD_BYTES:
            if self._writer:
                self._writer.close()
            self._shards.append(self._data / f"{self._split}-{len(self._shards):05d}")
            self._schema = table.schema.remove_metadata()
            self._writer = Writer(self._shards[-1], self._schema)
        self._writer.write(table)
        self._content.add(table)
        self._bytes += table.nbytes

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
        return Split(
            *(self._config, self._split, self._content.rows, files, self._bytes, size, digest.hexdigest()),
            *(self._content.hexdigest(), [feature(field) for field in self._schema]),
        )


def feature(field: pa.Field) -> dict[str, Any]:
    """A column as `dataset_info.features` has it: a name, and a dtype, a list or a struct."""
    return {"name": field.name} | _kind(field.type)


def _kind(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        inner = _kind(kind.value_type)
        return {"list": inner["struct"] if "struct" in inner else inner["dtype"]}
    if pa.types.is_struct(kind):
        return {"struct": [feature(field) for field in kind]}
    return {"dtype": {"double": "float64"}.get(str(kind), str(kind))}
