"""Prompt pools to the prompts table: read, judge, mix. Every row that is left out keeps its reason.

    deltadata collect recipes/quickstart.yaml       # writes prompts.parquet and left_out.parquet
    deltadata show RUN prompts                      # or left_out

Pools are read into a spool on disk. What is decided is decided on narrow columns; where text is needed it is read from
the spool a row group at a time. Reasons, in the order in which they are looked for: the recipe's rules, the same
prompt, the same normalised text, nearly the same text, contamination, not sampled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from deltadata import dedup, overlap, packs
from deltadata.asked import Asked, numbered, read
from deltadata.errors import UserError
from deltadata.mix import mix
from deltadata.ngrams import Pack
from deltadata.parquet import TextColumn, groups, read_columns
from deltadata.prompt_rules import RULES
from deltadata.recipe import Recipe
from deltadata.rows import digest
from deltadata.spool import RANK, SCHEMA, WHERE, Read, spool, texts
from deltadata.tables import DROPPED_BY, POOL, PROMPT, PROMPT_ID, PROMPTS, PROMPTS_FILE

TWIN, ALIKE = "twin", "alike"
DUPLICATE, NORMALISED, NEAR = "duplicate", "duplicate_normalised", "duplicate_near"
CONTAMINATED, NOT_SAMPLED = "contaminated", "not_sampled"
LEFT_OUT = pa.schema([*SCHEMA, (DROPPED_BY, pa.string()), (TWIN, pa.string()), (ALIKE, pa.float64())])
DEPTHS = {"none": 0, "exact": 1, "normalised": 2, "near": 3}
_KEY, _ROW = "normal_key", "row"


class Collected(NamedTuple):
    """What was collected, while its spool is there.

    `verdicts` has a row for each spooled one, in order: PROMPT_ID, POOL, DROPPED_BY (null: taken), TWIN (the prompt it
    duplicates, or pack#item) and ALIKE (similarity to it, or the share of the item). `pools` has a dict for each pool:
    name, path, asked and how many rows were read = bad + each reason + taken. `bad` has {where, why, row} of each bad
    row. `contamination` is what overlap.report says, null without packs.
    """

    spool: Path
    verdicts: pl.DataFrame
    pools: list[dict[str, Any]]
    bad: list[dict[str, str]]
    contamination: dict[str, Any] | None

    def taken(self) -> Iterator[pa.Table]:
        """The prompts table, a row group at a time."""
        for rows, verdict in self._groups():
            yield rows.select(PROMPTS.schema.names).filter(verdict[DROPPED_BY].is_null().to_arrow())

    def left_out(self) -> Iterator[pa.Table]:
        """The other rows with their reasons, as LEFT_OUT."""
        for rows, verdict in self._groups():
            for name in (DROPPED_BY, TWIN, ALIKE):
                rows = rows.append_column(
                    LEFT_OUT.field(name), verdict[name].to_arrow().cast(LEFT_OUT.field(name).type)
                )
            yield rows.filter(verdict[DROPPED_BY].is_not_null().to_arrow())

    def _groups(self) -> Iterator[tuple[pa.Table, pl.DataFrame]]:
        at = 0
        for rows in groups(self.spool):
            yield rows, self.verdicts.slice(at, rows.num_rows)
            at += rows.num_rows


def rules(recipe: Recipe) -> list[Asked]:
    """The recipe's rules for prompts. Raises UserError for an unknown rule or parameter."""
    found = [read(rule, f"collect.rules[{i}]", RULES) for i, rule in enumerate(recipe.collect.rules)]
    return numbered(found)


def made_from(recipe: Recipe, recipe_dir: Path) -> dict[str, str]:
    """What the prompts are made from, by digest. Raises UserError for a pool, pack or earlier run that is not there."""
    files = {f"pack {name}": packs.find(name, recipe_dir) for name in recipe.collect.decontaminate}
    known = zip(recipe.collect.against, _earlier(recipe, recipe_dir), strict=True)
    files |= {f"against {name}": file for name, file in known}
    found = {name: digest(str(file.resolve()), recipe_dir) for name, file in files.items()}
    return found | {pool.name: digest(pool.path, recipe_dir) for pool in recipe.collect.pools}


def told(pool: dict[str, Any]) -> dict[str, int]:
    """What became of a pool's rows, in words and numbers: read = bad + each reason + taken."""
    asked = {} if pool["asked"] is None else {"asked": pool["asked"]}
    counted = {DUPLICATE: 0, NOT_SAMPLED: 0} | pool["dropped"]
    left_out = {reason.replace("_", " "): n for reason, n in counted.items()}
    return {"read": pool["read"], "bad": pool["bad"], **left_out, **asked, "taken": pool["taken"]}


@contextmanager
def collected(recipe: Recipe, recipe_dir: Path, scratch: Path) -> Iterator[Collected]:
    """The prompts of every pool, in the pools' order and then the files' (paths are relative to `recipe_dir`).

    A prompt that stands twice, in one pool or in two, is taken the first time; `dedup: none` is for pools known to be
    distinct and refuses the second. `limit` takes, of each pool, the prompts of the smallest seeded rank: a higher
    limit adds prompts and drops none (but for a row of a third pool beside two with `max_share`), and a row added to
    one pool moves no choice in another beyond the pools' shares.
    The spool lies in the folder `scratch` until the block ends.

    Raises UserError and OutsideError as `spool` does, and UserError for an earlier run or a pack that cannot be read.
    """
    path = scratch / ".tmp-spool.parquet"
    bad: list[dict[str, str]] = []
    known = _earlier(recipe, recipe_dir)
    sought = packs.open_packs(recipe.collect.decontaminate, recipe_dir)
    asked = rules(recipe)
    try:
        counts, rows = spool(recipe, recipe_dir, path, bad)
        rows = rows.with_row_index(_ROW).with_columns(**_NOTHING)
        rows = _judged(rows, _by_rules(path, asked))
        for verdict in _duplicates(rows, path, known, recipe, scratch):
            rows = _judged(rows, verdict)
        hits = _hits(path, sought, recipe)
        rows = _judged(rows, _contaminated(hits, recipe))
        contamination = overlap.report(hits, rows, sought, recipe.collect.overlap.at_least) if sought else None
        rows, pools = _mixed(rows, counts, recipe)
        yield Collected(path, rows.drop(_ROW, RANK), pools, bad, contamination)
    finally:
        path.unlink(missing_ok=True)


_NOTHING = {DROPPED_BY: pl.lit(None, pl.String), TWIN: pl.lit(None, pl.String), ALIKE: pl.lit(None, pl.Float64)}
_VERDICT = pl.Schema({_ROW: pl.UInt32(), DROPPED_BY: pl.String(), TWIN: pl.String(), ALIKE: pl.Float64()})


def _judged(rows: pl.DataFrame, verdict: pl.DataFrame) -> pl.DataFrame:
    """Rows that had no reason get the verdict's; `verdict` has those that it drops."""
    new = verdict.select(_VERDICT.names()).rename({name: f"new_{name}" for name in _NOTHING})
    free = pl.col(DROPPED_BY).is_null()
    joined = rows.join(new, on=_ROW, how="left", maintain_order="left")
    found = {name: pl.when(free).then(f"new_{name}").otherwise(name) for name in _NOTHING}
    return joined.with_columns(**found).select(rows.columns)


def _verdict(rows: pl.DataFrame, reason: str, **columns: pl.Expr) -> pl.DataFrame:
    """A verdict with this reason on all of `rows`; TWIN and ALIKE from `columns`, else null."""
    return rows.select(_ROW, **(_NOTHING | {DROPPED_BY: pl.lit(reason)} | columns)).cast(_VERDICT)


def _by_rules(path: Path, asked: Sequence[Asked]) -> pl.DataFrame:
    """What the recipe's rules drop, each by the first rule it breaks."""
    found, at = [_VERDICT.to_frame()], 0
    for batch in texts(path) if asked else ():
        left = pl.DataFrame({_ROW: pl.int_range(at, at + len(batch), dtype=pl.UInt32, eager=True), PROMPT: batch})
        at += len(batch)
        for rule in asked:
            kept = rule.made(left[PROMPT])
            found.append(_verdict(left.filter(~kept), rule.name))
            left = left.filter(kept)
    return pl.concat(found)


def _earlier(recipe: Recipe, recipe_dir: Path) -> list[Path]:
    """The prompts of earlier runs, which are not collected again. Raises UserError for a path that is no run."""
    found = []
    for place in recipe.collect.against:
        path = Path(place).expanduser()
        near = next((p for p in (path, recipe_dir / path) if (p / PROMPTS_FILE).is_file()), None)
        if near is None:
            cure = "give the folder of a run that has collected its prompts"
            raise UserError("no earlier run (there is no prompts.parquet)", where=place, cure=cure)
        found.append(near / PROMPTS_FILE)
    return found


def _duplicates(
    rows: pl.DataFrame, path: Path, known: Sequence[Path], recipe: Recipe, scratch: Path
) -> Iterator[pl.DataFrame]:
    """Verdicts on rows that repeat an earlier one, or a prompt of an earlier run: exact, normalised, near.

    Raises UserError for a repeated prompt under `dedup: none`.
    """
    depth, fixed = DEPTHS[recipe.collect.dedup], [read_columns(file, [PROMPT_ID]) for file in known]
    before = pl.concat([rows[:0].select(PROMPT_ID), *fixed])
    free = rows.filter(pl.col(DROPPED_BY).is_null())
    twins = dedup.twins(pl.concat([before, free.select(PROMPT_ID)]), PROMPT_ID, before.height)[before.height :]
    found = free.with_columns(twins.alias(TWIN)).filter(pl.col(TWIN).is_not_null())
    if depth == 0 and found.height:
        again = found.row(0, named=True)
        what = f"pool {again[POOL]!r}: this prompt ({again[PROMPT_ID]}) stands a second time"
        where = TextColumn([path], WHERE).take(pl.Series([again[_ROW]]))[0].as_py()
        raise UserError(what, where=where, cure="`dedup: none` is for distinct prompts; say `dedup: exact`")
    yield _verdict(found, DUPLICATE, **{TWIN: pl.col(TWIN), ALIKE: pl.lit(1.0)})
    gone = found[_ROW]
    if depth > 1:
        normalised = _normalised(rows, path, known, gone)
        yield normalised
        gone = pl.concat([gone, normalised[_ROW]])
    if depth > 2:
        yield _near(rows, path, known, gone, recipe, scratch)


def _normalised(rows: pl.DataFrame, path: Path, known: Sequence[Path], gone: pl.Series) -> pl.DataFrame:
    keyed = [_keys(file) for file in known]
    fixed = sum(frame.height for frame in keyed)
    out = pl.col(DROPPED_BY).is_not_null() | pl.col(_ROW).is_in(gone.implode())
    own = rows.hstack(_keys(path).select(_KEY)).select(PROMPT_ID, pl.when(~out).then(_KEY).alias(_KEY))
    twins = dedup.twins(pl.concat([*keyed, own]), _KEY, fixed)[fixed:]
    found = rows.with_columns(twins.alias(TWIN)).filter(pl.col(TWIN).is_not_null())
    return _verdict(found, NORMALISED, **{TWIN: pl.col(TWIN), ALIKE: pl.lit(1.0)})


def _keys(path: Path) -> pl.DataFrame:
    """Ids and keys of the normalised texts of a spool, or of an earlier run's prompts."""
    ids = read_columns(path, [PROMPT_ID])
    keys = [batch.to_frame(PROMPT).select(dedup.key(pl.col(PROMPT)).alias(_KEY)) for batch in texts(path)]
    return ids.hstack(pl.concat(keys)) if keys else ids.with_columns(pl.lit(None, pl.UInt128).alias(_KEY))


def _near(
    rows: pl.DataFrame, path: Path, known: Sequence[Path], gone: pl.Series, recipe: Recipe, scratch: Path
) -> pl.DataFrame:
    ids = pl.concat([*(read_columns(file, [PROMPT_ID]) for file in known), rows.select(PROMPT_ID)])[PROMPT_ID]
    fixed = len(ids) - rows.height
    out = rows.select(pl.col(DROPPED_BY).is_not_null() | pl.col(_ROW).is_in(gone.implode())).to_series()

    def batches() -> Iterator[pl.Series]:
        for file in known:
            yield from texts(file)
        at = 0
        for batch in texts(path):
            kept = ~out.slice(at, len(batch))
            yield batch.to_frame().select(pl.when(kept).then(pl.first())).to_series()
            at += len(batch)

    seed, threshold = recipe.seed, recipe.collect.near_threshold
    found = dedup.near(batches(), threshold, seed, fixed_rows=fixed, scratch=scratch)
    twin = ids.gather(found[dedup.TWIN_ROW])
    found = found.select((pl.col(dedup.ROW) - fixed).cast(pl.UInt32).alias(_ROW), pl.col(dedup.JACCARD).alias(ALIKE))
    return _verdict(found.with_columns(twin.alias(TWIN)), NEAR, **{TWIN: pl.col(TWIN), ALIKE: pl.col(ALIKE)})


def _hits(path: Path, sought: list[Pack], recipe: Recipe) -> pl.DataFrame:
    """What the prompts have in common with the packs."""
    section = recipe.collect.overlap
    found = overlap.overlap(texts(path), sought, section.ngram, section.at_least) if sought else []
    return pl.concat([overlap.SCHEMA.to_frame(), *found])


def _contaminated(hits: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    found = overlap.strongest(hits, recipe.collect.overlap.at_least)
    item = pl.format("{}#{}", overlap.PACK, overlap.ITEM)
    return _verdict(found.rename({overlap.ROW: _ROW}), CONTAMINATED, **{TWIN: item, ALIKE: pl.col(overlap.COVERED)})


def _mixed(rows: pl.DataFrame, counts: Sequence[Read], recipe: Recipe) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """The rows with what was not sampled, and the table of the pools."""
    free = rows.filter(pl.col(DROPPED_BY).is_null())
    there = dict(free[POOL].value_counts().iter_rows())
    taken = mix(recipe.collect.pools, [there.get(count.name, 0) for count in counts], recipe.collect.limit)
    wanted = pl.col(POOL).replace_strict(
        {c.name: t.taken for c, t in zip(counts, taken, strict=True)}, return_dtype=pl.Int64
    )
    over = free.filter(pl.col(RANK).rank("ordinal").over(POOL) > wanted)
    rows = _judged(rows, _verdict(over, NOT_SAMPLED))
    reasons: dict[str, dict[str, int]] = {count.name: {} for count in counts}
    for pool, reason, n in rows.group_by(POOL, DROPPED_BY).len().sort(POOL, DROPPED_BY).iter_rows():
        if reason is not None:
            reasons[pool][reason] = n
    return rows, [
        count._asdict() | {"asked": took.asked, "dropped": reasons[count.name], "taken": took.taken}
        for count, took in zip(counts, taken, strict=True)
    ]
