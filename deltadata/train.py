"""A training by TRL: DPO, or SFT on the chosen side; resumed from the last whole checkpoint.

    deltadata train recipes/quickstart.yaml

Reference log-probs are computed once, before the first step, and kept beside the run.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from deltadata import machine, watch
from deltadata.dataset import TEST, TRAIN
from deltadata.errors import UserError
from deltadata.screen import Screen
from deltadata.tables import CHOSEN, PROMPT, SIDES
from deltadata.train_args import DPO, Plan, arguments, built, lora_config

CHECKPOINTS, LOG = "checkpoints", "log.json"
HELD_OUT = 512  # pairs of the test split that are looked at after the last step


class Trained(NamedTuple):
    """What came of it: the log's history, the held-out metrics, what was reused, and the arguments as TRL has them."""

    history: list[dict[str, Any]]
    held_out: dict[str, float]
    reused: list[str]
    arguments: dict[str, Any]
    steps: int
    devices: int


def train(plan: Plan, screen: Screen, positions: int | None = None) -> Trained:
    """Train as planned and save the model into the plan's folder. Call it on every process.

    Raises UserError for arguments that TRL refuses, OutsideError when the disk is full or memory runs out.
    """
    told = arguments(plan, positions)
    devices, checkpoints = int(os.environ.get("WORLD_SIZE", "1")), Path(plan.folder) / CHECKPOINTS
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(Path(plan.folder) / "tensorboard"))
    machine.quiet()
    with machine.kept(Path(plan.folder)):
        found = trainer(plan, built(plan, told, str(checkpoints), devices), screen)
        machine.need_room(found.model, Path(plan.folder), found.args.save_strategy != "no")
        if found.accelerator.is_main_process and getattr(found, "reused", None):
            screen.note(f"reference log-probs: those of an earlier training ({', '.join(found.reused)})")
        last = last_checkpoint(checkpoints)
        if last and found.accelerator.is_main_process:
            screen.note(f"resumes from {last}")
        found.train(resume_from_checkpoint=str(last) if last else None)
        held_out = found.evaluate() if found.eval_dataset is not None else {}
        found.save_model(plan.folder)
        (Path(plan.folder) / "training_args.bin").unlink(missing_ok=True)  # a pickle, which nobody needs
    args = {k: v for k, v in json.loads(found.args.to_json_string()).items() if k in told or k == "bf16"}
    return Trained(
        found.state.log_history, held_out, getattr(found, "reused", []), args, found.state.max_steps, devices
    )


def trainer(plan: Plan, config: Any, screen: Screen) -> Any:
    """trl.DPOTrainer (that also logs margin and accuracy of what is trained) or trl.SFTTrainer, ready."""
    import trl
    from transformers import PrinterCallback

    from deltadata.student import tokenizer

    watching = watch.callback(screen, Path(plan.folder) / LOG)
    common: dict[str, Any] = {
        "model": plan.student.path,
        "args": config,
        "train_dataset": dataset(plan, TRAIN),
        "eval_dataset": dataset(plan, TEST),
        "processing_class": tokenizer(plan.student),
        "peft_config": lora_config(plan),
        "callbacks": [watching],
    }
    if config.use_cpu:
        machine.quick_malloc()
    try:
        if plan.method == DPO:
            made = watch.measuring(trl.DPOTrainer, config.beta, Path(plan.reference), plan.cache)(**common)
        else:
            made = watch.without_card(trl.SFTTrainer)(**common)
    except (ValueError, TypeError, NotImplementedError) as problem:
        said = " ".join(str(problem).split())
        raise UserError(f"trl refuses: {said}", where=plan.where("train.args"), cure="change train.args") from None
    made.remove_callback(PrinterCallback)
    return made


def dataset(plan: Plan, split: str) -> Any:
    """The split as TRL takes it, memory-mapped; of `test` the first HELD_OUT. None where there is no such split."""
    from datasets import Dataset

    if not plan.files.get(split):
        return None
    found = Dataset.from_parquet(plan.files[split], columns=[PROMPT, *SIDES], cache_dir=plan.cache)
    if split == TEST:
        found = found.select(range(min(HELD_OUT, len(found))))
    return found if plan.method == DPO else found.select_columns([PROMPT, CHOSEN]).rename_column(CHOSEN, "completion")


def last_checkpoint(folder: Path) -> Path | None:
    """The last one that is whole: its state is written after everything else."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for path in found:
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return path
    return None
