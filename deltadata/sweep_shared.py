"""What a sweep's runs take over from one another, by hard link: tables with their records, and what judges said.

    deltadata sweep CSV

A table is taken over where the same fields made it of the same prompts, from any run in the sweep's folder: that of a
row or ladder that no CSV names any more has it still.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from deltadata import parts, replies, score, tables
from deltadata.job import PROMPTS, Job
from deltadata.recipe import Recipe
from deltadata.scorer_sections import Combined, Judge
from deltadata.sections import Rung
from deltadata.store import RECORD, Entry, Run, atomic, read_record, replacing
from deltadata.sweep_rows import LADDER
from deltadata.tables import fingerprint

_OWN = re.compile(r"part-[0-9]+\.parquet")  # what a run's own judge said


def common(made: Recipe, name: str) -> Recipe:
    """The row's recipe without the scorers that follow its pairings: which responses they look at differs by row."""
    own: set[str] = set()
    for asked in made.score:
        by_pairing = isinstance(asked, Judge) and asked.form == "pairwise" and asked.against == "pairings"
        if by_pairing or (isinstance(asked, Combined) and own & {*asked.of, asked.labels}):
            own.add(asked.name)
    return made.model_copy(update={"name": name, "score": [asked for asked in made.score if asked.name not in own]})


def beside(folder: Path, name: str, prompts: str) -> dict[Path, dict[str, Entry]]:
    """Records of all other runs in the sweep's folder that have these prompts, ladders first."""
    homes = {path.parent for path in folder.glob(f"*/{RECORD}")} - {folder / name}
    found = {}
    for home in sorted(homes, key=lambda home: (not home.name.startswith(LADDER), home.name)):
        record = read_record(home)[1]
        if PROMPTS in record and record[PROMPTS].fingerprint == prompts:
            found[home] = record
    return found


def has_rung(record: dict[str, Entry], job: Job, rung: Rung) -> bool:
    """Whether a run answered the rung by the fields that this recipe has."""
    entry = record.get(tables.ladder_name(rung.name))
    return entry is not None and parts.same(entry.spec, parts.spec_of(job.recipe, rung, job.recipe_dir))


def rungs_of(other: Path, record: dict[str, Entry], job: Job) -> None:
    """Take over the rungs that another run answered."""
    for rung in job.recipe.generate.rungs:
        name = tables.ladder_name(rung.name)
        if has_rung(record, job, rung) and not parts.read(job.run.path, rung.name).files:
            take_over(other, job.run, [name])
            job.progress.note(f"{rung.name}: {record[name].rows} response(s) are those of {other.name}")


def scores_of(other: Path, record: dict[str, Entry], job: Job) -> None:
    """Take over the scores that another run has of the same responses."""
    rungs = {name: of_rung.inputs for name, of_rung in job.ladder().items()}
    for asked in job.recipe.score:
        entry = record.get(name := tables.scores_name(asked.name))
        if entry is None or name in job.run.record or entry.inputs.get("rungs") != rungs:
            continue
        if entry.spec == score.spec_of(asked):
            take_over(other, job.run, [name])
            job.progress.note(f"{asked.name}: {entry.rows} score(s) are those of {other.name}")


def judgements_of(folder: Path, into: Run, made: Recipe) -> None:
    """Link what judges said in other runs of the sweep: it is found by its key, so that nobody is asked twice.

    Parts have the numbers of who asked; linked ones do not, so that none is linked on.
    """
    for asked in (asked.name for asked in made.score if isinstance(asked, Judge)):
        home = replies.folder(into.path, asked)
        for path in sorted(folder.glob(f"*/{home.relative_to(into.path)}/part-*.parquet")):
            source = path.relative_to(folder).parts[0]
            place = home / path.name.replace("part-", f"part-{fingerprint(source)}-")
            if source != into.path.name and _OWN.fullmatch(path.name) and not place.exists():
                home.mkdir(parents=True, exist_ok=True)
                link(path, place)


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
