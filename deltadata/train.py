"""DPO, or SFT on the chosen side, by TRL: arguments checked by name, the paper's defaults, resumed after a kill.

    deltadata train recipes/quickstart.yaml

What is not given in `train.args` is what the paper's released configuration says (Geng et al. 2025, student
Llama-3.1-Tulu-3-8B-SFT: length-normalised DPO, beta 5, 5e-8, batch 32); gradient accumulation follows from the batch.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from deltadata import watch
from deltadata.errors import UserError, did_you_mean, need
from deltadata.preflight import Found
from deltadata.screen import Screen
from deltadata.sections import Train
from deltadata.student import Student
from deltadata.tables import CHOSEN, PROMPT, SIDES

DPO, SFT = "dpo", "sft"
PAPER: dict[str, Any] = {
    "learning_rate": 5e-8,
    "lr_scheduler_type": "cosine_with_min_lr",
    "lr_scheduler_kwargs": {"min_lr_rate": 0.1},
    "warmup_steps": 0.03,  # below 1 a share of all steps
    "num_train_epochs": 1,
    "adam_beta1": 0.9,
    "adam_beta2": 0.95,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "max_length": 2048,
}
OURS: dict[str, Any] = {
    "per_device_train_batch_size": 1,
    "logging_steps": 1,
    "save_strategy": "steps",
    "save_steps": 100,
    "save_total_limit": 1,
}
OF = {
    DPO: {"loss_type": ["sigmoid_norm"], "beta": 5.0, "precompute_ref_log_probs": True},
    SFT: {"learning_rate": 1e-6, "completion_only_loss": True},
}
TAKEN = {  # arguments that something else decides
    "output_dir": "the run folder is given with --run",
    "gradient_accumulation_steps": "set train.batch: accumulation is that over devices and per_device_train_batch_size",
    "resume_from_checkpoint": "the last whole checkpoint is found by itself",
    "push_to_hub": "add --push owner/name",
    "hub_model_id": "add --push owner/name",
}
LORA = {"alpha": "lora_alpha", "dropout": "lora_dropout"}  # short names
_DISK = ("PytorchStreamWriter", "inline_container", "No space left", "File too large", "I/O error")


class Plan(NamedTuple):
    """Everything a training is made of; the same on every process."""

    method: str
    train: Train
    seed: int
    student: Student
    files: dict[str, list[str]]  # parquet by split
    folder: str  # where the model goes
    reference: str  # where reference log-probs are kept
    places: dict[str, str]  # file and line of the recipe's keys
    recipe: str


def environment() -> None:
    """Before trl is imported: no usage ping, no progress bars of others."""
    for name in ("HF_HUB_DISABLE_TELEMETRY", "TQDM_DISABLE", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(name, "1")


def config_class(method: str) -> type:
    """trl.DPOConfig or trl.SFTConfig. Raises UserError when TRL is not installed."""
    environment()
    trl = need("trl", "train")
    return trl.DPOConfig if method == DPO else trl.SFTConfig  # type: ignore[no-any-return]


def arguments(plan: Plan, max_positions: int | None = None) -> dict[str, Any]:
    """`train.args` over the defaults, each name and type checked against the installed TRL.

    For SFT those of DPO alone are left out. Raises UserError with file and line.
    """
    from dataclasses import fields
    from typing import get_type_hints

    from pydantic import TypeAdapter, ValidationError

    known = {field.name: get_type_hints(config_class(DPO))[field.name] for field in fields(config_class(DPO))}
    mine = {field.name: get_type_hints(config_class(plan.method))[field.name] for field in fields(config_class(plan.method))}
    for name, value in plan.train.args.items():
        where = plan.places.get(f"train.args.{name}", plan.recipe)
        if name in TAKEN or name.startswith("hub_"):
            raise UserError(f"train.args.{name}: is not set here", where=where, cure=TAKEN.get(name, "add --push"))
        if name not in {**known, **mine}:
            what = f"train.args.{name}: {config_class(plan.method).__name__} has no such argument"
            raise UserError(what, where=where, cure=did_you_mean(name, {**known, **mine}))
        try:
            TypeAdapter({**known, **mine}[name]).validate_python(value)
        except ValidationError:
            raise UserError(f"train.args.{name}: {value!r:.80} has the wrong type", where=where, cure="see trl's documentation") from None
    given = {k: v for k, v in plan.train.args.items() if k in mine and not (plan.method == SFT and k == "loss_type")}
    window = {"max_length": min(PAPER["max_length"], max_positions)} if max_positions else {}
    return PAPER | OURS | OF[plan.method] | {"seed": plan.seed} | window | given
