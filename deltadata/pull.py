"""A published run as a run folder again, its ladder included: another filter or pairing asks no model.

    deltadata pull me/delta-pairs
    deltadata run runs/delta-pairs/recipe.yaml --set filter.rules='[finished]' --overwrite

The prompts become pools of files, scores become imported ones; generated rungs keep the spec that made them, so that
what is added later is generated as the rest was.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from deltadata import card, parts, run, tables
from deltadata.content import Content
from deltadata.dataset import LADDER
from deltadata.errors import OutsideError, UserError
from deltadata.generate import Progress
from deltadata.hub import asking
from deltadata.job import DATASET, PROMPTS, Job
from deltadata.licences import COMPUTED
from deltadata.parquet import Writer, groups, write_table, writing
from deltadata.publish import RECIPE
from deltadata.recipe import Recipe, dump, load
from deltadata.scorer_sections import Checks, Combined
from deltadata.sections import Collect, Pool
from deltadata.store import RECORD, Entry, open_run, read_record, replacing
from deltadata.tables import MODEL, POOL, PROMPT, PROMPT_ID, SAMPLE, SCORE
from deltadata.verify import remote_record

PULLED = "pulled"
_PROMPTS = pa.schema([tables.PROMPTS.schema.field(PROMPT)])
_SCORES = pa.schema([tables.SCORES.schema.field(name) for name in (PROMPT_ID, MODEL, SAMPLE, SCORE)])


class Pulled(NamedTuple):
    """Where the run lies, what it came from, and whether pairing it again gave the published rows."""

    folder: Path
    commit: str
    same: bool | None  # None: responses are missing, so nothing was paired


def pull(repo: str, revision: str | None, folder: Path | None, progress: Progress) -> Pulled:
    """Fetch a dataset that `deltadata push` made and build its run folder (default: runs/<recipe name>).

    Raises UserError when the repository has no such dataset or the folder is there; OutsideError when the Hub fails or
    gives other rows than the record says.
    """
    commit, told = remote_record(repo, revision)
    splits = told["tables"][DATASET]["facts"]["splits"]
    place = folder or Path("runs") / Path(str(told["recipe"])).name
    if place.exists():
        cure = f"go on with: deltadata run {place / RECIPE}; or give another folder with --run"
        raise UserError("is there already", where=str(place), cure=cure)
    with replacing(place) as new:
        _fetch(repo, commit, new / PULLED, progress)
        recipe = load(new / PULLED / RECIPE)
        _build(new, recipe, told["tables"], next(split for split in splits if split["config"] == LADDER))
        head = f"# pulled from {repo}, commit {commit}\n"
        local = _local(recipe, read_record(new / PULLED)[1])
        (new / RECIPE).write_text(head + dump(local), encoding="utf-8")
    progress.note(f"{place}: the ladder of {repo}")
    return Pulled(place, commit, _paired(place, splits, progress))


def _fetch(repo: str, commit: str, into: Path, progress: Progress) -> None:
    from huggingface_hub import snapshot_download

    progress.note(f"fetching {repo}, commit {commit[:12]}")
    wanted = [RECIPE, RECORD, f"data/{LADDER}/*.parquet"]
    with asking(repo):
        snapshot_download(repo, repo_type="dataset", revision=commit, allow_patterns=wanted, local_dir=into)
    shutil.rmtree(into / ".cache", ignore_errors=True)


def _local(recipe: Recipe, record: dict[str, Entry]) -> Recipe:
    """The recipe, its pools, imported rungs and scores being the files that were fetched."""
    known = {pool["name"]: pool.get("license") for pool in record[PROMPTS].facts["pools"]}
    pools = [
        Pool(name=pool.name, path=f"{PULLED}/prompts/{pool.name}.parquet", license=pool.license or known[pool.name])
        for pool in recipe.collect.pools
    ]
    rungs = [
        rung.model_copy(update=_as_imported(rung.name)) if rung.responses else rung for rung in recipe.generate.rungs
    ]
    tree = recipe.model_dump(mode="json")
    tree["collect"] = Collect(pools=pools, dedup="none").model_dump(mode="json")
    tree["score"] = _scores(recipe, record)
    found = Recipe.model_validate(tree)
    return found.model_copy(update={"generate": recipe.generate.model_copy(update={"rungs": rungs})})


def _scores(recipe: Recipe, record: dict[str, Entry]) -> list[dict[str, Any]]:
    """The scorers as files. Each states the licence that was known of it: the file's name tells nobody of which model.

    Checks and combined scores were computed of parts that have their own.
    """
    licences = {one.part.where: one.licence for one in card.licences(recipe, record)}
    computed = {asked.name for asked in recipe.score if isinstance(asked, Checks | Combined)}
    return [
        {"name": asked.name, "scores": f"{PULLED}/scores/{asked.name}.parquet", "prompt": PROMPT_ID}
        | {"license": COMPUTED if asked.name in computed else licences[tables.scores_name(asked.name)]}
        for asked in recipe.score
    ]


def _as_imported(rung: str) -> dict[str, Any]:
    path = f"{PULLED}/data/{LADDER}/*.parquet"
    return {"responses": path, "prompt": PROMPT_ID, "response": tables.RESPONSE, "select": {MODEL: rung}}


def _build(new: Path, recipe: Recipe, record: dict[str, Any], ladder: dict[str, Any]) -> None:
    """Prompts by pool, scores by scorer, and the parts of generated rungs, in one pass over the ladder."""
    content, last = Content(), ""
    with ExitStack() as stack:
        pools: dict[str, Writer] = {}
        for pool in recipe.collect.pools:
            path = new / PULLED / "prompts" / f"{pool.name}.parquet"
            pools[pool.name] = stack.enter_context(writing(path, _PROMPTS, published=False))
        scores: dict[str, Writer] = {}
        for asked in recipe.score:
            path = new / PULLED / "scores" / f"{asked.name}.parquet"
            scores[asked.name] = stack.enter_context(writing(path, _SCORES, published=False))
        for number, group in enumerate(_groups(new / PULLED, ladder)):
            content.add(group)
            first = _first_of_each(group, last)
            last = group[PROMPT_ID][-1].as_py() if len(group) else last
            for name, writer in pools.items():
                writer.write(first.filter(pc.equal(first[POOL], name)).select([PROMPT]))
            for name, writer in scores.items():
                named = group.select([PROMPT_ID, MODEL, SAMPLE, tables.scored(name)]).rename_columns(_SCORES.names)
                writer.write(named)
            for rung in recipe.generate.rungs:
                if not rung.responses:
                    _write_part(new, rung.name, record[tables.ladder_name(rung.name)], group, number)
    if content.hexdigest() != ladder["content"]:
        cure = "the repository was changed by hand: take another revision, or ask its owner"
        raise OutsideError("its ladder is not the one its record speaks of", where=str(new.name), cure=cure)


def _groups(folder: Path, ladder: dict[str, Any]) -> Iterator[pa.Table]:
    for name in ladder["files"]:
        yield from groups(folder / "data" / LADDER / Path(name).name)


def _first_of_each(group: pa.Table, last: str) -> pa.Table:
    """The first row of every prompt (its rows are neighbours), but for one that an earlier group began."""
    ids = pl.Series(group[PROMPT_ID])
    return group.filter((ids != ids.shift(1, fill_value=last)).to_arrow())


def _write_part(run: Path, rung: str, made: dict[str, Any], group: pa.Table, number: int) -> None:
    rows = group.filter(pc.equal(group[MODEL], rung)).select(tables.RESPONSES.schema.names)
    if not len(rows):
        return
    rows = rows.cast(tables.RESPONSES.schema)
    made_by = {
        parts.SPEC: json.dumps(made["spec"], sort_keys=True),
        parts.FACTS: json.dumps(made["facts"], sort_keys=True),
        parts.DIGEST: parts.digest_of(rows),
    }
    write_table(parts.folder(run, rung) / parts.NAME.format(number), rows, made_by)


def _paired(place: Path, splits: list[dict[str, Any]], progress: Progress) -> bool | None:
    """Pair, filter and publish the run that was built; whether its rows are those of the Hub.

    Only where no response is missing: a recipe from the Hub must not load models unasked.
    """
    path = place / RECIPE
    recipe = load(path)
    with open_run(place, recipe.name) as opened:
        job = Job(opened, recipe, path, progress)
        run.run_collect(job)
        wanted = opened.record[PROMPTS].rows
        for rung in recipe.generate.rungs:
            samples = recipe.generate.sampling_of(rung).samples
            if not rung.responses and parts.read(place, rung.name).rows != wanted * samples:
                progress.note(f"{rung.name} lacks responses; to generate them: deltadata run {path}")
                return None
        run.run_all(job)
        made = {(split["config"], split["split"]): split for split in opened.record[DATASET].facts["splits"]}
    return all(made.get((s["config"], s["split"]), {}).get("content") == s["content"] for s in splits)
