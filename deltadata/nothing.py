"""What to say when nothing is left: no prompt, or no pair, and what each kind of pairing would have needed.

Every one is an error with its cure; `deltadata run RECIPE` ends with it before there is an empty dataset.
"""

from __future__ import annotations

from typing import Any

from deltadata import pair, tables
from deltadata.errors import UserError
from deltadata.job import Job
from deltadata.pair_sections import ByScore


def no_prompt(pools: list[dict[str, Any]]) -> UserError:
    """Of pools (as Collected has them) that gave no prompt, and why."""
    reasons = [f"{n} {reason}" for pool in pools for reason, n in pool["dropped"].items()]
    cure = "loosen what drops them: rules, dedup, against, decontaminate, counts"
    return UserError(f"no prompt is left ({', '.join(reasons)})", where="collect", cure=cure)


def no_pair(job: Job) -> UserError:
    """Of responses that make no pair under the recipe's pairings and control."""
    recipe = job.recipe
    if isinstance(recipe.pair.pairings, ByScore):
        return _by_score(job, recipe.pair.pairings, "pair.pairings")
    if recipe.pair.also and recipe.pair.also.exclusive and recipe.pair.also.share == 1:
        return _by_score(job, recipe.pair.also, "pair.also")
    if recipe.pair.control == "tied":
        names = " or ".join(repr(pairing.stronger) for pairing in pair.planned(recipe))
        cure = "tied pairs take two: give a file with several responses a prompt, or leave the control out"
        return UserError(f"no prompt has two samples of {names}", where="pair.control", cure=cure)
    return UserError(
        "no prompt has an answer from both rungs of a pairing",
        where=str(job.run.path / tables.RESPONSES.name),
        cure=f"see why with: deltadata show {job.run.path} responses/{recipe.generate.rungs[-1].name}",
    )


def _by_score(job: Job, asked: ByScore, where: str) -> UserError:
    table = tables.scores_name(asked.by)
    see = f"see them with: deltadata show {job.run.path} {table}"
    if not job.run.record[table].rows:
        return UserError(f"no response has a score by {asked.by!r}", where=where, cure=see)
    what = f"no prompt has two responses whose scores by {asked.by!r} differ"
    what += f" by {asked.min_delta:g}" if asked.min_delta else ""
    if asked.weak:
        what += f", with {asked.weak.at_least} of {', '.join(asked.weak.rungs)} among its candidates"
    return UserError(what, where=where, cure=f"ask for less, or score more responses; {see}")
