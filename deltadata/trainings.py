"""One training of a run: what it is made of, whether it is done, what it leaves in <run>/train/<name>/.

    train/dpo/    model files, README.md, train.json (its record), log.json, train.png, checkpoints/
    train/reference/    reference log-probs by data, student and window: the next training finds them

As with every table: done is skipped, other data makes it anew, another recipe is refused without --overwrite.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from deltadata import curves, model_card, preflight, recipe, student, tables, train_args, training_data
from deltadata.dataset import TRAIN
from deltadata.errors import DeltadataError, UserError
from deltadata.screen import Screen
from deltadata.sections import Train
from deltadata.store import Drift, Run, open_run
from deltadata.tables import CHOSEN, SIDES
from deltadata.train import CHECKPOINTS, Trained, train, trainer
from deltadata.train_args import DPO, Plan

FOLDER, REFERENCE, BEGUN, TABLE = "train", "reference", "begun", "train"
RECORD = "train.json"
_COSTS = "the former model is moved to replaced/ and one is trained anew"


class Asked(NamedTuple):
    """A training as it is asked for, before anything is looked at."""

    name: str  # of the recipe
    run: Path
    train: Train
    seed: int
    recipe: Path
    places: dict[str, str]

    @property
    def folder(self) -> Path:
        return self.run / FOLDER / (self.train.name or self.train.method)


def asked(
    source: str, overrides: list[str], run: Path | None, method: str | None = None, told: str | None = None
) -> Asked:
    """What `deltadata train SOURCE` means: a recipe, a run or dataset folder, or a dataset on the Hub.

    `told` is the student that the command line names. Raises UserError when the source is none of these.
    """
    place, places = Path(source), dict[str, str]()
    changes = [
        *overrides,
        *([f"train.method={method}"] if method else []),
        *([f"train.student={told}"] if told else []),
    ]
    if place.is_dir():
        inside = place / "dataset" if (place / "dataset").is_dir() else place
        found = recipe.load(inside / "recipe.yaml", changes, places)
        section = found.train if found.train.dataset else found.train.model_copy(update={"dataset": source})
        home = run or (
            place if inside != place else place.parent if place.name == "dataset" else Path("runs") / found.name
        )
        return Asked(found.name, home, section, found.seed, inside / "recipe.yaml", places)
    if place.is_file() or place.suffix in (".yaml", ".yml"):
        found = recipe.load(place, changes, places)
        home = run or Path("runs") / found.name
        section = found.train if found.train.dataset else found.train.model_copy(update={"dataset": str(home)})
        return Asked(found.name, home, section, found.seed, place, places)
    return _of_hub(source, changes, run)


def _of_hub(source: str, changes: list[str], run: Path | None) -> Asked:
    """A dataset on the Hub has no recipe here: the section is made of --set and --student alone."""
    from pydantic import ValidationError

    from deltadata import strict

    tree: dict[str, Any] = {"train": {"dataset": source}}
    places: dict[str, str] = {}
    for change in changes:
        strict.override(tree, change, places)
    try:
        section = Train.model_validate(tree.pop("train"))
    except ValidationError as problem:
        raise strict.explain(problem, Train, tree, source, places) from None
    if not training_data.is_hub(source):
        cure = "give a recipe, a run, a dataset folder or owner/name[@revision] of the Hub"
        raise UserError("no such file or folder", where=source, cure=cure)
    name = source.partition("@")[0].rpartition("/")[2]
    return Asked(name, run or Path("runs") / name, section, 0, Path(source), places)


def check(asked: Asked, tokenizer: str | None, screen: Screen) -> preflight.Found:
    """The preflight alone, of the split that would be trained on; its table is shown."""
    section = asked.train if tokenizer is None else asked.train.model_copy(update={"student": tokenizer})
    made, pairs = _opened(asked._replace(train=section), screen, weights=False)
    window = train_args.arguments(made, positions(made.student))["max_length"]
    return _looked(made, pairs, window, screen)


def plan(asked: Asked, screen: Screen | None = None) -> Plan:
    """What a training would be made of: student found, data opened; nothing is written but what the Hub sends."""
    return _opened(asked, screen or Screen())[0]


def opened_trainer(asked: Asked, screen: Screen) -> Any:
    """TRL's trainer as `deltadata train` would run it, reference log-probs computed; for who looks inside."""
    made = plan(asked, screen)
    told = train_args.arguments(made, positions(made.student))
    return trainer(made, train_args.built(made, told, f"{made.folder}/{CHECKPOINTS}", 1), screen)


def positions(found: student.Student) -> int | None:
    """How many tokens the student has positions for, where its configuration says."""
    told = getattr(student.config(found).get_text_config(), "max_position_embeddings", None)
    return int(told) if told else None


def _looked(plan: Plan, pairs: training_data.Pairs, window: int | None, screen: Screen) -> preflight.Found:
    tokenizer = student.tokenizer(plan.student)
    sides = SIDES if plan.method == DPO else (CHOSEN,)
    groups, ends = training_data.messages(pairs, TRAIN), student.ends(plan.student, tokenizer)
    allow = plan.train.allow
    found = preflight.preflight(tokenizer, groups, window or 2**31, ends, sides, allow)
    screen.note(f"preflight with {plan.student.told}: {preflight.summary(found)}")
    screen.rows("what the student's tokenizer makes of the pairs", preflight.table(found))
    preflight.refuse(found, plan.train.max_bad_share, plan.train.max_cut_share, allow)
    return found


def _opened(asked: Asked, screen: Screen, weights: bool = True) -> tuple[Plan, training_data.Pairs]:
    """Student and pairs, and the plan that is made of them."""
    found = student.open_student(asked.train.student, asked.recipe.parent, screen.note, weights)
    pairs = training_data.open_pairs(str(asked.train.dataset), asked.run / FOLDER / REFERENCE)
    files = {split: [str(path) for path in paths] for split, paths in pairs.files.items()}
    folder = str(asked.folder)
    plan = Plan(asked.train.method, asked.train, asked.seed, found, files, folder, "", asked.places, str(asked.recipe))
    told = train_args.arguments(plan)
    # Another arithmetic gives other log-probs, and the first loss would no longer be ln 2.
    shaped = {name: told.get(name) for name in ("max_length", "ld_alpha", "bf16", "fp16", "model_init_kwargs")}
    key = tables.fingerprint([pairs.digest, found.digest, shaped, train_args.on_gpu(told)])
    return plan._replace(reference=str(asked.run / FOLDER / REFERENCE / key)), pairs


def run_training(asked: Asked, screen: Screen, overwrite: bool = False) -> Path:
    """Train unless that is done; returns the folder with the model. Call it on every process of a launch.

    Raises UserError for what is wrong in recipe, data or student and on drift, OutsideError when the disk, the Hub or
    the GPU's memory fails; the last whole checkpoint is kept and the same command goes on from it.
    """
    if int(os.environ.get("RANK", "0")):
        if (plan := _together(None)) is not None:
            train(plan, screen, positions(plan.student))
        return asked.folder
    asked.folder.parent.mkdir(parents=True, exist_ok=True)
    with open_run(asked.folder, asked.name, RECORD) as opened:
        plan = _together(lambda: _prepared(asked, opened, screen, overwrite))
        if plan is None:
            screen.note(f"{asked.folder}: nothing to do, this training is done")
            return asked.folder
        began = time.monotonic()
        told = train(plan, screen, positions(plan.student))
        _finish(asked, opened, plan, told, time.monotonic() - began, screen)
    return asked.folder


def _together(prepare: Callable[[], Plan | None] | None) -> Plan | None:
    """The main process prepares; all get its plan, or its error. With one process nothing but that happens."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return prepare() if prepare else None
    from datetime import timedelta

    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    # A preflight of a million pairs takes its time; without `cpu` two processes on a CPU would not see each other.
    PartialState(cpu=not train_args.on_gpu({}), timeout=timedelta(hours=3))
    outcome: list[Any] = [None]
    if prepare:
        try:
            outcome = [prepare()]
        except DeltadataError as problem:
            outcome = [problem]
    broadcast_object_list(outcome)
    if isinstance(outcome[0], DeltadataError):
        raise outcome[0] if prepare else SystemExit(outcome[0].exit_code)  # told once
    return outcome[0]  # type: ignore[no-any-return]


def _prepared(asked: Asked, opened: Run, screen: Screen, overwrite: bool) -> Plan | None:
    """What to train, looked at and let pass; None when it is done."""
    plan, pairs = _opened(asked, screen)
    told = train_args.arguments(plan, positions(plan.student))
    spec = _spec(asked, told)
    inputs = {"pairs": pairs.digest, "student": plan.student.digest}
    if opened.state(TABLE, spec, inputs, asked.folder) == "done":
        return None
    begun = opened.state(BEGUN, spec, inputs, asked.folder)
    if begun == "drift" and not overwrite:
        opened.refuse_drift([Drift(TABLE, opened.record[BEGUN].spec, spec, _COSTS)])
    if begun in ("drift", "stale"):
        _aside(opened, "the recipe" if begun == "drift" else "the data or the student", screen)
    train_args.lora_config(plan)
    if (devices := int(os.environ.get("WORLD_SIZE", "1"))) == 1:  # of several, all must build it at once
        train_args.built(plan, told, plan.folder, devices)
    if opened.state(BEGUN, spec, inputs, asked.folder) != "done":
        looked = _looked(plan, pairs, told["max_length"], screen)
        facts = {"preflight": looked._asdict(), "deltas": training_data.deltas(pairs), "rows": pairs.rows}
        data = {"told": pairs.told, "repo": pairs.repo, "commit": pairs.commit, "digest": pairs.digest}
        facts |= {"dataset": data | {"licence": pairs.licence}}
        opened.forget(TABLE)
        opened.finish(BEGUN, pairs.rows[TRAIN], 0.0, spec, inputs, facts)
    return plan


def _spec(asked: Asked, told: dict[str, Any]) -> dict[str, Any]:
    section = asked.train.model_dump(mode="json", include={"student", "method", "batch", "lora"})
    return section | {"args": train_args.identity(told)}


def _aside(opened: Run, why: str, screen: Screen) -> None:
    """A model is never deleted: it goes to replaced/. Checkpoints of what is no longer asked for go."""
    home = opened.path
    place = home / "replaced" / tables.fingerprint([opened.record[BEGUN].spec, opened.record[BEGUN].inputs])
    shutil.rmtree(home / CHECKPOINTS, ignore_errors=True)
    names = [path for path in home.iterdir() if path.name not in ("replaced", ".lock", ".lock-holder", RECORD)]
    if TABLE in opened.record and not place.exists():
        place.mkdir(parents=True)
        shutil.copy2(home / RECORD, place / RECORD)
        for path in names:
            path.rename(place / path.name)
        screen.note(f"{home}: trained anew, since {why} changed; the former model: {place}")
    opened.forget(TABLE)
    opened.forget(BEGUN)


def _finish(asked: Asked, opened: Run, plan: Plan, told: Trained, seconds: float, screen: Screen) -> None:
    """Picture, card and, last, the record."""
    folder, begun = asked.folder, opened.record[BEGUN]
    shutil.rmtree(plan.cache, ignore_errors=True)
    if not curves.draw(told.history, folder / "train.png", asked.name):
        screen.note("no train.png: matplotlib is not installed (pip install 'deltadata-toolkit[report]')")
    facts = begun.facts | {
        "steps": told.steps,
        "devices": told.devices,
        "arguments": told.arguments,
        "lora": asked.train.lora,
        "reference_reused": told.reused,
        "first": curves.ends(told.history)[0],
        "last": curves.ends(told.history)[1],
        "held_out": told.held_out,
        "student": plan.student._asdict() | {"licence": student.license_of(plan.student)},
    }
    page = model_card.render(model_card.facts(asked.name, asked.train, asked.seed, facts, seconds))
    (folder / "README.md").write_text(page, encoding="utf-8")
    section = {"name": asked.name, "seed": asked.seed, "train": asked.train.model_dump(mode="json")}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(section, sort_keys=False, allow_unicode=True), encoding="utf-8")
    files = [
        path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".") and path.name != RECORD
    ]
    opened.finish(TABLE, begun.rows, seconds, begun.spec, begun.inputs, facts, files)
    for text in model_card.closing(facts, seconds):
        screen.note(text)
    screen.note(f"model: {folder}")
