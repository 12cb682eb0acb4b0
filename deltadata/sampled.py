"""A seeded sample of a run's prompts as a run of its own, in a folder of the run.

    deltadata validate RECIPE --sample 200          # runs/NAME/validate/prompts.parquet

A larger sample has the members of a smaller one. What the run has answered already is taken over, never asked again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import count

import polars as pl
import pyarrow as pa

from deltadata import parts, replies, tables
from deltadata.job import PROMPTS, Job
from deltadata.parquet import groups, open_parquet, read_columns, write_table, writing
from deltadata.sections import Rung
from deltadata.tables import PROMPT_ID, RESPONSES, SAMPLE

FOLDER = replies.NESTED  # judgements are shared with it


def members(main: Job, size: int) -> pl.Series:
    """The prompt_ids of the sample: those with the smallest ranks by the recipe's seed."""
    ids = read_columns(main.prompts_file, [PROMPT_ID])[PROMPT_ID]
    ranks = pl.Series([tables.rank(main.recipe.seed, FOLDER, prompt_id) for prompt_id in ids], dtype=pl.Int64)
    return ids.gather(ranks.arg_sort()[:size])


def draw(main: Job, sample: Job, size: int) -> int:
    """Write the sample's prompts, in the order of the run's; returns how many there are now.

    A sample that has more keeps them: they are answered already.
    """
    record, whole = sample.run.record, main.run.record[PROMPTS]
    former = record[PROMPTS].inputs["sample"] if PROMPTS in record else 0
    size = min(max(size, former), whole.rows)
    spec, inputs = {"seed": main.recipe.seed}, {"prompts": whole.fingerprint, "sample": size}
    if sample.run.state(PROMPTS, spec, inputs, sample.prompts_file) == "done":
        return size
    began, taken = time.monotonic(), members(main, size)
    sample.run.forget(PROMPTS)
    with writing(sample.prompts_file, tables.PROMPTS.schema, published=False) as writer:
        for group in groups(main.prompts_file):
            writer.write(group.filter(pl.Series(group[PROMPT_ID]).is_in(taken.implode()).to_arrow()))
    sample.run.finish(PROMPTS, size, time.monotonic() - began, spec, inputs, files=[sample.prompts_file])
    return size


def take_over(main: Job, sample: Job) -> None:
    """Copy the run's responses to the sample's prompts, where the sample has none and the same fields made them.

    A failed one is left out: it may be asked for again.
    """
    for rung in sample.recipe.generate.rungs:
        if rung.responses:
            continue
        home = parts.folder(sample.run.path, rung.name)
        taken = 0
        for made_by, rows in list(_missing(main, sample, rung)):
            free = next(name for name in map(parts.NAME.format, count()) if not (home / name).exists())
            write_table(home / free, rows, made_by | {parts.DIGEST: parts.digest_of(rows)})
            taken += rows.num_rows
        if taken:
            sample.progress.note(f"{rung.name}: {taken} response(s) of the sample are in the run already")


def _missing(main: Job, sample: Job, rung: Rung) -> Iterator[tuple[dict[bytes, str], pa.Table]]:
    """What the sample lacks and the run has, one table for each thing that made them, with its footer."""
    spec = parts.spec_of(main.recipe, rung, main.recipe_dir)
    asked = pl.DataFrame({SAMPLE: range(main.recipe.generate.sampling_of(rung).samples)}, schema={SAMPLE: pl.UInt32})
    wanted = read_columns(sample.prompts_file, [PROMPT_ID]).join(asked, how="cross")
    key = [PROMPT_ID, SAMPLE]
    wanted = wanted.join(parts.read(sample.run.path, rung.name).keys, on=key, how="anti")
    found: dict[tuple[str, str], list[pa.Table]] = {}
    for path in parts.read(main.run.path, rung.name).files if wanted.height else []:
        with open_parquet(path, RESPONSES.schema) as file:
            told = file.schema_arrow.metadata or {}
            made_by = told.get(parts.SPEC, b"{}").decode(), told.get(parts.FACTS, b"{}").decode()
            if not parts.same(json.loads(made_by[0]), spec):
                continue
            rows = file.read(use_threads=False)
        keys = pl.DataFrame(rows.select([*key, tables.ERROR])).with_row_index("row")
        taken = keys.filter(pl.col(tables.ERROR).is_null()).join(wanted, on=key, how="semi", maintain_order="left")
        if taken.height:
            found.setdefault(made_by, []).append(rows.take(taken["row"].to_arrow()).replace_schema_metadata(None))
    for (made, facts), parts_of_it in found.items():
        yield {parts.SPEC: made, parts.FACTS: facts}, pa.concat_tables(parts_of_it)
