"""The two models of an evaluation: the student, and what it was trained from.

both(asked, "runs/quickstart/train/dpo", None, None, Screen())
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from deltadata import store, student, training_data, trainings
from deltadata.errors import UserError, first_line, need
from deltadata.screen import Screen
from deltadata.store import replacing
from deltadata.student import Student
from deltadata.trainings import Asked

WINDOW = 2048  # where neither the training nor the model says


class Both(NamedTuple):
    """Student and reference, and the window that the student was trained in."""

    student: Student
    reference: Student
    name: str
    window: int


def both(asked: Asked, model: str, reference: str | None, name: str | None, screen: Screen) -> Both:
    """The student, and the reference that the command, the training's record or the recipe names."""
    if not (Path(model).is_dir() or training_data.is_hub(model)):
        done = sorted(str(path.parent) for path in (asked.run / trainings.FOLDER).glob("*/config.json"))
        cure = f"the run has {', '.join(done)}" if done else "`deltadata train` makes one"
        raise UserError("no such model", where=model, cure=cure)
    here = asked.recipe.parent
    used = _merged(model, asked.run / "evaluate" / "merged", screen)
    mine = student.open_student(used, here, screen.note)._replace(told=model)
    student.tokenizer(mine)  # refuses a model without a chat template before anything is paid for
    made = _training(Path(model))
    source = reference or made.get("student", {}).get("path") or asked.train.student
    if source is None:
        cure = "give --reference MODEL: what the student was trained from"
        raise UserError("no reference is known for this model", where=model, cure=cure)
    revision = made.get("student", {}).get("revision") if not reference else None
    theirs = student.open_student(f"{source}@{revision}" if revision else source, here, screen.note)
    if theirs.digest == mine.digest:
        screen.note("student and reference are the same model: every margin is 0")
    place = Path(model)
    called = place.resolve().name if place.is_dir() else model.replace("/", "--").replace("@", "--")
    window = made.get("arguments", {}).get("max_length") or asked.train.args.get("max_length") or WINDOW
    return Both(mine, theirs, name or called, min(window, trainings.positions(mine) or window))


def _merged(model: str, home: Path, screen: Screen) -> str:
    """The directory itself, or of a LoRA adapter the model that it makes with its base, written to `home` once.

    Merged in the base's own dtype, in which the engines and the harness will run it. Raises UserError without peft.
    """
    place = Path(model)
    if not (place / "adapter_config.json").is_file() or (place / "config.json").is_file():
        return model
    peft = need("peft", "lora")
    from transformers import AutoTokenizer

    into = home / student.digest(place)
    if not into.exists():
        screen.note(f"{model} is a LoRA adapter: merged into its base in {into}")
        try:
            whole = peft.AutoPeftModelForCausalLM.from_pretrained(model, dtype="auto").merge_and_unload()
        except (OSError, ValueError) as problem:
            cure = "put the base where adapter_config.json says, or give a merged model"
            raise UserError(f"its base cannot be loaded: {first_line(problem)}", where=model, cure=cure) from None
        with replacing(into) as folder:
            whole.save_pretrained(folder)
            AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return str(into)


def _training(place: Path) -> dict[str, Any]:
    """What the record of its training says of a model's directory; nothing where there is none."""
    if not (place / trainings.RECORD).is_file():
        return {}
    entry = store.read_record(place, trainings.RECORD)[1].get(trainings.TABLE)
    return entry.facts if entry else {}
