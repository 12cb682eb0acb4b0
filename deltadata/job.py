"""One recipe in one open run folder, and whether a table of it is done, to be made anew, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from deltadata import parts, tables
from deltadata.generate import Progress
from deltadata.recipe import Recipe
from deltadata.store import Drift, Run

PROMPTS, PAIRS, FILTER = tables.PROMPTS.name, tables.PAIRS_NAME, tables.FILTER_NAME
DATASET, PUSH = "dataset", "push"


class Job(NamedTuple):
    """One recipe in one open run folder."""

    run: Run
    recipe: Recipe
    recipe_path: Path
    progress: Progress
    overwrite: bool = False
    retry: bool = False

    @property
    def recipe_dir(self) -> Path:
        return self.recipe_path.parent

    def need(self, table: str, stage: str) -> str:
        """The fingerprint of a finished table. Raises UserError naming the command that makes it."""
        return self.run.entry(table, f"deltadata {stage} {self.recipe_path} --run {self.run.path}").fingerprint

    @property
    def prompts_file(self) -> Path:
        return self.run.path / tables.PROMPTS_FILE

    @property
    def pairs_file(self) -> Path:
        return self.run.path / tables.PAIRS_FILE

    def made(self, table: str) -> Path:
        """What a table's record speaks of."""
        if table.startswith(tables.scores_name("")) or table == DATASET:
            return self.run.path / table
        return self.prompts_file if table == PROMPTS else self.pairs_file

    def ladder(self) -> dict[str, parts.Parts]:
        return {rung.name: parts.read(self.run.path, rung.name) for rung in self.recipe.generate.rungs}


def settled(job: Job, table: str, spec: dict[str, Any], inputs: dict[str, Any]) -> bool:
    """Whether the table is done. Refuses drift, unless overwriting; else the record goes and the table is rebuilt."""
    state = job.run.state(table, spec, inputs, job.made(table))
    if state == "done":
        return True
    refuse_drift(job, table, spec)
    if table in job.run.record:
        why = {"drift": "the recipe", "stale": "what it was made from"}.get(state, "its files")
        job.progress.note(f"{table}: made anew, since {why} changed")
    job.run.forget(table)
    return False


def drift(job: Job, table: str, spec: dict[str, Any]) -> list[Drift]:
    """The table's drift, if it was made by other fields than the recipe has now."""
    if job.run.state(table, spec, {}, job.made(table)) != "drift":
        return []
    return [Drift(table, job.run.record[table].spec, spec, COSTS.get(table, "responses are scored anew"))]


def refuse_drift(job: Job, table: str, spec: dict[str, Any]) -> None:
    """Raises UserError on drift, unless overwriting."""
    if not job.overwrite and (found := drift(job, table, spec)):
        job.run.refuse_drift(found)


# What --overwrite would cost, for the message that proposes it.
COSTS = {
    PROMPTS: "prompts are collected anew; responses stay",
    PAIRS: "pairs are made anew from the responses without asking a model",
    FILTER: "pairs are filtered anew without asking a model",
    DATASET: "the dataset folder is written anew",
}
