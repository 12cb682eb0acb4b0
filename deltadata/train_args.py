"""The arguments of a training: `train.args` by name over the paper's defaults, held against the installed TRL.

What is not given is what the paper's released configuration says (Geng et al. 2025, student Llama-3.1-Tulu-3-8B-SFT,
3B over 1.5B: length-normalised DPO, beta 5, 5e-8, batch 32). Gradient accumulation follows from the batch.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any, NamedTuple

from deltadata.errors import UserError, did_you_mean, need
from deltadata.sections import Train
from deltadata.student import Student

DPO, SFT = "dpo", "sft"
PAPER: dict[str, Any] = {
    "learning_rate": 5e-8,
    "lr_scheduler_type": "cosine_with_min_lr",
    "lr_scheduler_kwargs": {"min_lr_rate": 0.1},
    "warmup_steps": 0.03,  # below 1: a share of all steps
    "num_train_epochs": 1,
    "adam_beta1": 0.9,
    "adam_beta2": 0.95,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "max_length": 2048,
}
OF: dict[str, dict[str, Any]] = {
    DPO: {"loss_type": ["sigmoid_norm"], "beta": 5.0, "precompute_ref_log_probs": True},
    SFT: {"learning_rate": 1e-6, "completion_only_loss": True},
}
# Defaults for this machine's sake, and what never changes which model comes out: no part of a fingerprint.
OURS: dict[str, Any] = {
    "per_device_train_batch_size": 1,
    "logging_steps": 1,
    "save_strategy": "steps",
    "save_steps": 100,
    "save_total_limit": 1,
}
LOOSE = (
    *("per_device_", "logging_", "log_", "save_", "dataloader_", "report_to", "disable_tqdm", "run_name", "project"),
    *("gradient_checkpointing", "activation_offloading", "dataset_num_proc", "precompute_", "use_cpu", "ddp_"),
)
TAKEN = {  # what something else decides
    "output_dir": "give the run folder with --run",
    "gradient_accumulation_steps": "set train.batch: it is divided over devices and per_device_train_batch_size",
    "resume_from_checkpoint": "leave it out: the last whole checkpoint is found by itself",
    "push_to_hub": "add --push owner/name",
}
SHORT = {"alpha": "lora_alpha", "dropout": "lora_dropout"}


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

    @property
    def cache(self) -> str:
        """Where `datasets` keeps what it maps into memory; removed at the end."""
        return f"{self.folder}/.cache"

    def where(self, address: str) -> str:
        return self.places.get(address, self.recipe)


def config_class(method: str) -> Any:
    """trl.DPOConfig or trl.SFTConfig; no usage ping is sent. Raises UserError when TRL is not installed."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # beside other load threads that spin are lost (see LOG.md)
    trl = need("trl", "train")
    return trl.DPOConfig if method == DPO else trl.SFTConfig


def arguments(plan: Plan, positions: int | None = None) -> dict[str, Any]:
    """`train.args` over the defaults, each name and type checked against the installed TRL.

    For SFT those that DPO alone has are left out. `positions` bounds the default window.

    Raises UserError with file and line.
    """
    kinds = _kinds(plan.method) | _kinds(DPO)
    given: dict[str, Any] = {}
    for name, value in plan.train.args.items():
        where, address = plan.where(f"train.args.{name}"), f"train.args.{name}"
        if name in TAKEN or name.startswith("hub_"):
            raise UserError(
                f"{address}: is not for you to set", where=where, cure=TAKEN.get(name, "add --push owner/name")
            )
        if name not in kinds:
            what = f"{address}: the installed trl.{config_class(plan.method).__name__} has no such argument"
            raise UserError(what, where=where, cure=did_you_mean(name, kinds))
        given[name] = [value] if name == "loss_type" and isinstance(value, str) else value
        _typed(kinds[name], given[name], address, where)
    own = _kinds(plan.method).keys() - ({"loss_type"} if plan.method == SFT else set())
    window = {"max_length": min(PAPER["max_length"], positions)} if positions else {}
    told = PAPER | OURS | OF[plan.method] | {"seed": plan.seed} | window
    return told | {name: value for name, value in given.items() if name in own}


def _kinds(method: str) -> dict[str, Any]:
    from dataclasses import fields
    from typing import get_type_hints

    hints = get_type_hints(config_class(method))
    return {field.name: hints[field.name] for field in fields(config_class(method))}


def _typed(kind: Any, value: Any, address: str, where: str) -> None:
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError:
        named = getattr(kind, "__name__", None) or str(kind)
        raise UserError(
            f"{address}: {value!r:.80} is no {named}", where=where, cure="see trl's documentation"
        ) from None


def identity(told: dict[str, Any]) -> dict[str, Any]:
    """The arguments that shape the model: without this machine's."""
    return {name: value for name, value in told.items() if not name.startswith(LOOSE)}


def accumulation(batch: int, devices: int, per_device: int) -> int:
    """Forward passes per optimizer step so that it sees `batch` pairs. Raises UserError when that does not divide."""
    if batch % (devices * per_device):
        raise UserError(
            f"a batch of {batch} pairs does not divide over {devices} process(es) of {per_device} pair(s) each",
            where="train.batch",
            cure="change the number of processes, train.args.per_device_train_batch_size or train.batch",
        )
    return batch // (devices * per_device)


def on_gpu(told: dict[str, Any]) -> bool:
    """Whether a GPU is here and wanted."""
    import torch

    return torch.cuda.is_available() and not told.get("use_cpu")


def built(plan: Plan, told: dict[str, Any], output: str, devices: int) -> Any:
    """The DPOConfig or SFTConfig for `devices` processes. Raises UserError for what TRL refuses or quietly drops."""
    gpu = on_gpu(told)
    steps = accumulation(plan.train.batch, devices, told["per_device_train_batch_size"])
    init = {"dtype": _dtype(plan, gpu, told)} | (told.get("model_init_kwargs") or {})
    if plan.student.revision:
        init["revision"] = plan.student.revision
    _refuse(plan, told, init)
    machine = {
        "bf16": gpu and not told.get("fp16"),
        "gradient_checkpointing": gpu,  # on a CPU memory is not what runs out
        "use_cpu": not gpu,
        "disable_tqdm": True,
        "report_to": "tensorboard" if importlib.util.find_spec("tensorboard") else "none",
        "dataloader_pin_memory": gpu,
    }
    fixed = {"output_dir": output, "gradient_accumulation_steps": steps, "model_init_kwargs": init}
    try:
        return config_class(plan.method)(**machine | told | fixed)
    except (ValueError, TypeError, NotImplementedError, ImportError) as problem:
        said = " ".join(str(problem).split())
        raise UserError(
            f"trl refuses these arguments: {said}", where=plan.where("train.args"), cure="change them"
        ) from None


def _dtype(plan: Plan, gpu: bool, told: dict[str, Any]) -> str:
    """bfloat16 where another copy is the one that is trained: under DeepSpeed, and below a LoRA adapter."""
    return "bfloat16" if _deepspeed() or (plan.train.lora is not None and gpu and not told.get("fp16")) else "float32"


def _deepspeed() -> bool:
    return os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() in ("true", "1")


def _refuse(plan: Plan, told: dict[str, Any], init: dict[str, Any]) -> None:
    """What would train to no avail, or not as asked."""
    half = str(init["dtype"]).removeprefix("torch.") in ("bfloat16", "float16", "bf16", "fp16", "auto")
    if half and plan.train.lora is None and not _deepspeed():
        what = f"all weights would be trained in {init['dtype']} with no float32 copy: rounding swallows small steps"
        cure = "leave dtype out (bf16 is for the arithmetic), use DeepSpeed, or train.lora"
        raise UserError(what, where=plan.where("train.args.model_init_kwargs"), cure=cure)
    if told.get("padding_free"):
        cure = "leave it out: this TRL pads all the same"
        flash = str(init.get("attn_implementation", "sdpa")).startswith("flash_attention")
        what = "padding_free is not done by TRL's DPOTrainer" if flash else "padding_free needs flash attention"
        raise UserError(what, where=plan.where("train.args.padding_free"), cure=cure)


def lora_config(plan: Plan) -> Any:
    """peft.LoraConfig of `train.lora`, or None. Raises UserError without peft, or for a key it does not have."""
    if plan.train.lora is None:
        return None
    peft = need("peft", "lora")
    from dataclasses import fields

    known = [*SHORT, *(field.name for field in fields(peft.LoraConfig))]
    for name in plan.train.lora:
        if name not in known:
            where = plan.where(f"train.lora.{name}")
            raise UserError(f"train.lora.{name}: unknown key", where=where, cure=did_you_mean(name, known))
    given = {SHORT.get(name, name): value for name, value in plan.train.lora.items()}
    return peft.LoraConfig(**{"target_modules": "all-linear", "task_type": "CAUSAL_LM"} | given)
