"""What one row of a sweep goes through: the ladder that it shares, its own dataset, its student, its evaluation.

    deltadata sweep CSV --until evaluate

A ladder is a run of its own beside the rows. A row's run takes its tables over by hard link, records and all, so that
the stages of `run` find them finished: nothing is generated or scored for a row that another one has paid for.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from deltadata import evaluate, parts, recipe, reports, run, score, sweep_figures, tables, trainings
from deltadata.errors import OutsideError, UserError
from deltadata.evaluate import Told
from deltadata.job import PROMPTS, Job
from deltadata.recipe import Recipe
from deltadata.screen import Screen
from deltadata.store import RECORD, Run, atomic, open_run, read_record, replacing
from deltadata.sweep_rows import LADDER, Row, Sweep
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
    # Comparisons by a judge follow the pairings: of the base recipe's own ladder those of the base recipe.
    pair = recipe.load(sweep.base, sweep.sets).pair if name == LADDER else row.recipe.pair
    mine = row.recipe.model_copy(update={"name": name, "pair": pair})
    with open_run(making.folder / name, name) as opened:
        job = Job(opened, mine, sweep.base, making.screen, making.overwrite)
        _write_recipe(opened.path, mine)
        run.run_collect(job)
        for other in sorted({*sweep.ladders.values()} - {name}):
            _rungs_of(making.folder / other, job)
        score.refuse_early(opened.path, mine, job.recipe_dir, making.screen)
        run.run_generate(job)
        run.run_score(job)
        return fingerprint({table: entry.fingerprint for table, entry in opened.record.items()})


def _rungs_of(other: Path, job: Job) -> None:
    """Take over the rungs that another ladder answered to the same prompts by the same fields."""
    record = read_record(other)[1] if (other / RECORD).exists() else {}
    if PROMPTS not in record or record[PROMPTS].fingerprint != job.run.record[PROMPTS].fingerprint:
        return
    for rung in job.recipe.generate.rungs:
        name = tables.ladder_name(rung.name)
        if name not in record or parts.read(job.run.path, rung.name).files:
            continue
        if parts.same(record[name].spec, parts.spec_of(job.recipe, rung, job.recipe_dir)):
            take_over(other, job.run, [name])
            job.progress.note(f"{rung.name}: {record[name].rows} response(s) are those of {other.name}")


def take_over(source: Path, into: Run, wanted: Iterable[str] | None = None) -> None:
    """Link the tables of another run with their records, all or the `wanted`, where they are not there already."""
    for table, entry in read_record(source)[1].items():
        if wanted is not None and table not in wanted:
            continue
        home = into.path / (tables.PROMPTS_FILE if table == PROMPTS else table)
        done = into.state(table, entry.spec, entry.inputs, home) == "done"
        if done and _names(home) == _names(source / home.name if table == PROMPTS else source / table):
            continue
        into.forget(table)
        if table == PROMPTS:
            for name in entry.files:
                with atomic(into.path / name) as temporary:
                    link(source / name, temporary)
        else:
            with replacing(home) as folder:
                for path in sorted((source / table).iterdir()):
                    link(path, folder / path.name)
        into.record[table] = entry
        into.save()


def _names(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir()) if home.is_dir() else [home.name]


def link(source: Path, place: Path) -> None:
    """A hard link, or a copy where there are none. Whoever writes such a file writes another and renames it."""
    try:
        place.hardlink_to(source)
    except OSError:  # another disk, a file system without links; a full disk says so once more
        shutil.copy2(source, place)


def dataset(sweep: Sweep, row: Row, making: Making) -> dict[str, Any]:
    """The row's own run up to dataset/, on the ladder that is there; its figures."""
    folder, shared = making.folder / row.name, making.folder / sweep.ladder_of(row)
    with open_run(folder, row.recipe.name) as opened:
        _write_recipe(folder, row.recipe)
        take_over(shared, opened)
        judged = tables.JUDGEMENTS.name
        if (shared / judged).is_dir() and not (folder / judged).exists():
            shutil.copytree(shared / judged, folder / judged, copy_function=lambda a, b: link(Path(a), Path(b)))
        run.run_all(Job(opened, row.recipe, sweep.base, making.screen, making.overwrite))
    file = folder / reports.JSON_FILE
    told = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else reports.make(folder, drawn=False)
    return sweep_figures.of_data(told)


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
            link(path, folder / ANSWERS / path.name)
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
