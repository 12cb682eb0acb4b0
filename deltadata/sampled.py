"""A seeded sample of a run's prompts as a run of its own, in a folder of the run.

    deltadata validate RECIPE --sample 200          # runs/NAME/validate/prompts.parquet

A larger sample has the members of a smaller one. What either has answered the other takes over (see `taken`).
"""

from __future__ import annotations

import time

import polars as pl

from deltadata import replies, tables
from deltadata.job import PROMPTS, Job
from deltadata.parquet import groups, read_columns, writing
from deltadata.tables import PROMPT_ID

FOLDER = replies.NESTED  # judgements are shared with it, and answers


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
