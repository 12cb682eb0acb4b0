"""What one row of a sweep goes through: the ladder that it shares, its own dataset, its student, its evaluation.

    deltadata sweep CSV --until evaluate

A ladder is a run of its own beside the rows. A row's run takes its tables over by hard link, records and all, so that
the stages of `run` find them finished: nothing is generated or scored for a row that another one has paid for.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from deltadata import evaluate, recipe, reports, run, score, sweep_figures, sweep_shared, tables, trainings
from deltadata.errors import OutsideError, UserError
from deltadata.evaluate import Told
from deltadata.job import PROMPTS, Job
from deltadata.parquet import read_columns
from deltadata.recipe import Recipe
from deltadata.screen import Screen
from deltadata.store import Drift, Run, atomic, open_run, read_record
from deltadata.sweep_rows import Row, Sweep
from deltadata.tables import fingerprint

RECIPE = "recipe.yaml"
ANSWERS = Path(evaluate.FOLDER) / "responses"  # fresh answers of a run, each file called by what made it


class Making(NamedTuple):
    """How a sweep is made: where, by what launcher trainings start (None: here), whether drift is overwritten."""

    folder: Path
    screen: Screen
    launch: str | None = None
    overwrite: bool = False


def ladder(sweep: Sweep, row: Row, making: Making) -> str:
    """Collect, generate and score what `row` shares with others, unless that is done; a fingerprint of what is there.

    Raises what these stages raise.
    """
    name = sweep.ladder_of(row)
    mine = sweep_shared.common(row.recipe, name)
    with open_run(making.folder / name, name) as opened:
        job = Job(opened, mine, sweep.base, making.screen, making.overwrite)
        _write_recipe(opened.path, row.recipe.model_copy(update={"name": name}))
        run.run_collect(job)
        others = sweep_shared.beside(making.folder, name, opened.record[PROMPTS].fingerprint)
        for other, record in others.items():
            sweep_shared.rungs_of(other, record, job)
        score.refuse_early(opened.path, row.recipe, job.recipe_dir, making.screen)
        run.run_generate(job)
        for other, record in others.items():
            sweep_shared.scores_of(other, record, job)
        sweep_shared.judgements_of(making.folder, opened, mine)
        run.run_score(job)
        return fingerprint({table: entry.fingerprint for table, entry in opened.record.items()})


def drifted(sweep: Sweep, row: Row, making: Making) -> list[Drift]:
    """Tables in the row's folder that another recipe made; what their ladder then lacks, a dry run tells."""
    job = Job(Run(making.folder / row.name, row.recipe.name), row.recipe, sweep.base, making.screen)
    return [
        drift._replace(costs=_LINKED) if drift.table.startswith(tables.ladder_name("")) else drift
        for drift in run.drifted_tables(job)
    ]


_LINKED = "responses become those of the ladder that the recipe now has, which answers what it lacks: see --dry-run"


def refuse_drift(sweep: Sweep, row: Row, making: Making) -> None:
    """Raises UserError for a row whose tables another recipe made, before its ladder is paid for."""
    if not making.overwrite and (found := drifted(sweep, row, making)):
        Run(making.folder / row.name, row.recipe.name).refuse_drift(found)


def dataset(sweep: Sweep, row: Row, making: Making) -> dict[str, Any]:
    """The row's own run up to dataset/, on the ladder that is there; its figures."""
    folder = making.folder / row.name
    with open_run(folder, row.recipe.name) as opened:
        _write_recipe(folder, row.recipe)
        sweep_shared.take_over(making.folder / sweep.ladder_of(row), opened)
        sweep_shared.judgements_of(making.folder, opened, row.recipe)
        run.run_all(Job(opened, row.recipe, sweep.base, making.screen, making.overwrite))
    file = folder / reports.JSON_FILE
    told = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else reports.make(folder, drawn=False)
    return sweep_figures.of_data(told) | _qualities(folder, row.recipe, told["lead"])


def _qualities(folder: Path, made: Recipe, lead: str) -> dict[str, float | None]:
    """The mean score of the chosen responses, of all pairs and of the kept; None where the measure is no scorer."""
    names = (sweep_figures.QUALITY, sweep_figures.KEPT_QUALITY)
    if lead not in [asked.name for asked in made.score]:
        return dict.fromkeys(names)
    key = [tables.PROMPT_ID, *(tables.of(tables.CHOSEN, name) for name in (tables.MODEL, tables.SAMPLE))]
    pairs = read_columns(folder / tables.PAIRS_FILE, [*key, tables.DROPPED_BY])
    found = pairs.join(score.read(folder, lead), left_on=key, right_on=tables.SCORES.key[:3], how="left")
    kept = found.filter(pl.col(tables.DROPPED_BY).is_null())
    return {name: rows.select(pl.col(lead).mean()).item() for name, rows in zip(names, (found, kept), strict=True)}


def _write_recipe(folder: Path, made: Recipe) -> None:
    with atomic(folder / RECIPE) as temporary:
        temporary.write_text(recipe.dump(made), encoding="utf-8")


def train(sweep: Sweep, row: Row, making: Making) -> dict[str, Any]:
    """The row's student, trained here or by the launcher; its figures."""
    asked = _asked(sweep, row, making.folder)
    if making.launch is None:
        trainings.run_training(asked, making.screen, making.overwrite)
    else:
        _launched(sweep, row, making)
    return sweep_figures.of_training(read_record(asked.folder, trainings.RECORD)[1][trainings.TABLE].facts)


def _asked(sweep: Sweep, row: Row, folder: Path) -> trainings.Asked:
    found = trainings.asked(str(sweep.base), [*sweep.sets, *row.given], folder / row.name)
    return found._replace(places=row.places)


def _launched(sweep: Sweep, row: Row, making: Making) -> None:
    """`LAUNCH -m deltadata train BASE --set ...`: processes of its own, whose end returns all memory.

    Raises UserError or OutsideError with what it said last.
    """
    sets = [part for given in (*sweep.sets, *row.given) for part in ("--set", given)]
    command = [*shlex.split(making.launch or ""), "-m", "deltadata", "train", str(sweep.base)]
    command += ["--run", str(making.folder / row.name), *sets, *(["--overwrite"] if making.overwrite else [])]
    told = dict.fromkeys(["error"], "")
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
    except OSError as problem:
        cure = "give what stands before `-m deltadata train`: --launch 'accelerate launch --config_file FILE'"
        raise UserError(f"cannot be started: {problem.strerror}", where="--launch", cure=cure) from None
    with process:
        assert process.stdout
        for line in process.stdout:
            making.screen.note(line.rstrip("\n"))
            start, colon, rest = line.partition(": ")
            told |= {start: rest.strip()} if colon and start in told else {}
    if process.returncode:
        kind = UserError if process.returncode == UserError.exit_code else OutsideError
        what = told["error"] or f"the training ended with {process.returncode}"
        raise kind(what, where=str(making.folder / row.name), cure="see what it said above")


def evaluation(sweep: Sweep, row: Row, making: Making) -> dict[str, Any]:
    """The row's student against what it came from; its figures. Answers that other rows have are not asked again."""
    folder, asked = making.folder / row.name, _asked(sweep, row, making.folder)
    (folder / ANSWERS).mkdir(parents=True, exist_ok=True)
    for path in making.folder.glob(f"*/{ANSWERS}/*.parquet"):
        if not (folder / ANSWERS / path.name).exists():
            sweep_shared.link(path, folder / ANSWERS / path.name)
    asked = asked._replace(recipe=folder / RECIPE)  # it is read again, for its engine and its checks
    # Its name is that of this row's training: what another one left there is of no use.
    told = Told(str(asked.folder), overwrite=True)
    return sweep_figures.of_evaluation(evaluate.evaluate(asked, told, making.screen))


def reached(folder: Path, row: Row, stage: str) -> Path:
    """What lies in the row's folder once the stage is done."""
    name = row.recipe.train.name or row.recipe.train.method
    places = {
        "train": Path(trainings.FOLDER) / name / trainings.RECORD,
        "evaluate": Path(evaluate.FOLDER) / name / evaluate.FILE,
    }
    return folder / row.name / places.get(stage, Path("dataset"))
