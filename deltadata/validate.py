"""A test of the order of the rungs on a sample of prompts, before the rest is paid for.

    deltadata validate RECIPE --sample 200 --scorer checks

The sample is a run of its own in RUN/validate, so that it resumes. How often one may look is planned at the first look
and kept with every result in RUN/validate/looks/SCORER.json: who looks until the answer pleases proves nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from deltadata import outlook, pair, parts, sampled, score, tables, taken, validity
from deltadata.errors import UserError, did_you_mean
from deltadata.generate import drifts
from deltadata.job import PROMPTS, Job, drift
from deltadata.pair_sections import ByScore, Pair
from deltadata.parquet import read_columns
from deltadata.recipe import Recipe
from deltadata.run import prompts_of, run_collect, run_generate, run_score
from deltadata.scorer_sections import Combined, Imported, Score
from deltadata.store import Drift, changes, open_run, write_json
from deltadata.tables import POOL, PROMPT_ID

Tree = dict[str, Any]
LOOKS = "looks"
DEFAULTS = {"sample": 200, "at_least": 0.5, LOOKS: 1}


class Asked(NamedTuple):
    """What a person asks for. None: what was planned, or at the first look the default; a look has `sample` prompts
    more than the one before it."""

    scorer: str | None = None
    sample: int | None = None
    at_least: float | None = None
    looks: int | None = None
    next: bool = False
    width: float = 0.1


def validate(job: Job, asked: Asked) -> Tree:
    """The result of the latest look, taken now if it is due (see the README for its keys).

    Raises UserError for a recipe without an order to test, and where something else than planned is asked for.
    """
    order = _order(job.recipe)
    scorer = _scorer(job.recipe, asked.scorer)
    if job.recipe.pair.control != "none":
        job.progress.note(f"pair.control ({job.recipe.pair.control}) is ignored: this tests the order of the rungs")
    with open_run(job.run.path / sampled.FOLDER, job.recipe.name) as opened:
        sample = job._replace(run=opened, recipe=_part_of(job.recipe, scorer))
        file = opened.path / LOOKS / f"{scorer.name}.json"
        kept = _planned(job, sample, scorer, file, asked)  # refused before anything of the run is made anew
        run_collect(job)
        if _due(kept, asked.next, job.run.record[PROMPTS].rows, file):
            write_json(file, kept)  # the promise comes before the first answer
            kept["results"].append(_look(job, sample, scorer, order, kept))
            write_json(file, kept)
        else:
            what = f"look {len(kept['results'])} of {kept['plan'][LOOKS]} as it was found; nothing was asked"
            job.progress.note(f"{scorer.name}: {what}")
        cost = outlook.outlook(job, sample)  # as things are now, whenever the look was taken
    told: Tree = kept["results"][-1]
    for pairing in told["pairings"]:
        pairing["minimum_prompts"] = validity.least(pairing, asked.width)
    return told | {"cost": cost, "width": asked.width}


def _order(recipe: Recipe) -> list[tuple[str, str]]:
    if isinstance(recipe.pair.pairings, ByScore):
        what = f"pairs go by the scores of {recipe.pair.pairings.by}, so that no order of rungs is assumed"
        cure = "nothing needs validating; to test an order: --set pair.pairings=adjacent"
        raise UserError(what, where="pair.pairings", cure=cure)
    return [(pairing.stronger, pairing.weaker) for pairing in pair.pairings(recipe)]


def _scorer(recipe: Recipe, name: str | None) -> Score:
    """The one that is asked for, or the recipe's only one."""
    names = [asked.name for asked in recipe.score]
    if not names:
        cure = "add one to the recipe: score: [{name: checks}]"
        raise UserError("no scorer says which answer is better", where="score", cure=cure)
    if name is None and len(names) > 1:
        raise UserError(f"which scorer? {', '.join(names)}", where="--scorer", cure=f"--scorer {names[0]}")
    if name is not None and name not in names:
        raise UserError(f"no scorer is called {name!r}", where="--scorer", cure=did_you_mean(name, names))
    return next(asked for asked in recipe.score if asked.name == (name or names[0]))


def _part_of(recipe: Recipe, scorer: Score) -> Recipe:
    """The recipe with this scorer and those that it is made of, the order alone, and no measure."""
    needed = {scorer.name}
    for asked in reversed(recipe.score):  # what a combined one is made of stands above it
        if asked.name in needed and isinstance(asked, Combined):
            needed |= {*asked.of, *([asked.labels] if asked.labels else [])}
    scores = [asked for asked in recipe.score if asked.name in needed]
    return recipe.model_copy(update={"score": scores, "pair": Pair(pairings=recipe.pair.pairings, measures=[])})


def _planned(job: Job, sample: Job, scorer: Score, file: Path, asked: Asked) -> Tree:
    """The plan and the results so far. Raises UserError when another plan, or another recipe, has results here."""
    told = {"sample": asked.sample, "at_least": asked.at_least, LOOKS: asked.looks}
    given = {key: value for key, value in told.items() if value is not None}
    about = _about(job, sample)
    kept: Tree | None = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    table = f"{sampled.FOLDER}/{scorer.name}"
    drifted = drifts(sample.run, sample.recipe, sample.recipe_dir)
    for one in sample.recipe.score:
        drifted += drift(sample, tables.scores_name(one.name), score.spec_of(one))
    if kept and kept["results"] and changes(kept["about"], about):
        drifted.append(Drift(table, kept["about"], about, "the looks taken are forgotten, and another plan begins"))
    if drifted and not job.overwrite:
        sample.run.refuse_drift(drifted)
    if drifted:
        outlook.forget(sample.run.path)
    if kept is None or not kept["results"] or drifted:
        begun = kept["plan"] if kept and not drifted else {}
        plan = DEFAULTS | begun | given | {"seed": job.recipe.seed}
        return {tables.SCORER: scorer.name, "plan": plan, "about": about, "results": []}
    if found := changes({key: kept["plan"][key] for key in given}, given):
        what = f"the plan is fixed by its first look, which has been taken: {'; '.join(found)}"
        cure = "leave the option out; for another plan take other prompts: --set seed=1 --run ANOTHER_FOLDER"
        raise UserError(what, where=str(file), cure=cure)
    return kept


def _about(job: Job, sample: Job) -> Tree:
    """What a result is of, beside the rungs and scorers, whose own records tell of a change."""
    order = [list(pairing) for pairing in pair.pairings(job.recipe)]
    files = {
        asked.name: score.inputs_of(asked, job.recipe, job.recipe_dir, {})
        for asked in sample.recipe.score
        if isinstance(asked, Imported)
    }
    return {"prompts": _prompts(job), "pairings": order, "scores": files}


def _prompts(job: Job) -> str:
    """The fingerprint of the run's prompts: as they are, or as they are to be."""
    spec, inputs = prompts_of(job)
    if job.run.state(PROMPTS, spec, inputs, job.prompts_file) == "done":
        return job.run.record[PROMPTS].fingerprint
    return tables.fingerprint([spec, inputs])


def _due(kept: Tree, wanted: bool, prompts: int, file: Path) -> bool:
    """Whether a look is to be taken. Raises UserError for one that was not planned, or has nothing new to see."""
    taken, planned = len(kept["results"]), kept["plan"][LOOKS]
    if not taken or not wanted:
        return not taken
    cure = "take the result as it stands, or begin anew with other prompts: --set seed=1 --run ANOTHER_FOLDER --looks 3"
    if taken >= planned:
        what = f"{planned} look(s) were planned and are taken; with a further one the intervals would not hold"
        raise UserError(what, where=str(file), cure=cure)
    if kept["results"][-1]["prompts"] >= prompts:
        what = f"all {prompts} prompts of the run have been looked at"
        raise UserError(what, where=str(file), cure="collect more prompts, or take the result as it stands")
    return True


def _look(job: Job, sample: Job, scorer: Score, order: list[tuple[str, str]], kept: Tree) -> Tree:
    """Answer and score what this look's prompts lack, and read the agreement off them."""
    plan, number, whole = kept["plan"], len(kept["results"]) + 1, job.run.record[PROMPTS].rows
    wanted = number * plan["sample"]
    if wanted > whole:
        job.progress.note(f"the run has {whole} prompts: all of them are taken")
    drawn = sampled.draw(job, sample, wanted)
    if drawn > wanted:
        job.progress.note(f"the sample has {drawn} prompts from before; the verdict is over the {wanted} asked for")
    for rung, number in taken.take_over(job.run.path, sample.run.path, job.recipe, job.recipe_dir).items():
        job.progress.note(f"{rung}: {number} response(s) of the sample are in the run already")
    score.refuse_early(sample.run.path, sample.recipe, sample.recipe_dir, job.progress)
    with outlook.timed(sample):
        run_generate(sample)
    with outlook.timed(sample):
        run_score(sample)
    pools = read_columns(job.prompts_file, [POOL])[POOL].unique().to_list()
    names = [pool.name for pool in job.recipe.collect.pools if pool.name in pools]
    rule = validity.Rule(scorer.name, plan["at_least"], plan[LOOKS], names, whole, len(order))
    mine = sampled.members(job, wanted)
    told: Tree = {tables.SCORER: scorer.name, "sample": plan["sample"], "prompts": len(mine)}
    told |= {LOOKS: plan[LOOKS], "look": number, "level": rule.level, "level_by_pool": rule.level_by_pool}
    told |= {"at_least": plan["at_least"], "seed": plan["seed"]}
    told["pairings"] = validity.judged(_pairs(sample).filter(pl.col(PROMPT_ID).is_in(mine.implode())), order, rule)
    return told


def _pairs(sample: Job) -> pl.DataFrame:
    """The sample's pairs by the order of the rungs, as numbers."""
    prompts = read_columns(sample.prompts_file, [PROMPT_ID, POOL])
    responses = {name: parts.checked(of_rung.files, name) for name, of_rung in sample.ladder().items()}
    scores = [score.read(sample.run.path, asked.name) for asked in sample.recipe.score]
    return pair.pair(pair.response_numbers(responses, prompts, sample.recipe, scores), sample.recipe)
