"""Step time, peak memory and final loss of our training against a plain TRL script of thirty lines, interleaved.

make bench-train

A Llama of 3.4 M parameters on 64 pairs, 24 steps of 8 pairs, the same seed, processes of their own, the same allocator
and thread settings for both. What is compared is the median time from step to step.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
ROUNDS = int(os.environ.get("ROUNDS", "3"))
SETTINGS = {
    "MALLOC_TOP_PAD_": "1000000000",
    "MALLOC_MMAP_THRESHOLD_": "2147483647",
    "MALLOC_TRIM_THRESHOLD_": "2147483647",
    "OMP_WAIT_POLICY": "passive",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TQDM_DISABLE": "1",
}


def plain(folder: Path) -> Any:
    """The thirty lines that anyone would write."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    config = DPOConfig(
        output_dir=str(folder / "plain"),
        loss_type=["sigmoid_norm"],
        beta=5.0,
        learning_rate=1e-4,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1},
        warmup_steps=0.03,
        num_train_epochs=3,
        adam_beta2=0.95,
        weight_decay=0.0,
        max_length=256,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
        precompute_ref_log_probs=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        seed=0,
    )
    pairs = Dataset.from_parquet(str(folder / "ds/data/default/train-00000-of-00001.parquet"))
    tokenizer = AutoTokenizer.from_pretrained(folder / "student")
    return DPOTrainer(str(folder / "student"), args=config, train_dataset=pairs, processing_class=tokenizer)


def ours(folder: Path) -> Any:
    """The trainer that `deltadata train` runs, with all that it watches."""
    from trainings_by_hand import Heard, asked

    from deltadata import trainings

    args = {"learning_rate": 1e-4, "num_train_epochs": 3, "per_device_train_batch_size": 2, "save_strategy": "no"}
    return trainings.opened_trainer(asked(folder, folder / "student", folder / "ds", args=args), Heard().screen)


def one(which: str, folder: Path) -> None:
    """Train and print what is compared, as JSON."""
    from transformers import TrainerCallback

    stamps: list[tuple[float, float]] = []  # of the clock, and of the processor: beside other load only that says much

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            stamps.append((time.perf_counter(), time.process_time()))

    trainer = {"plain": plain, "ours": ours}[which](folder)
    trainer.add_callback(Clock())
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    step, cpu = (statistics.median(b[i] - a[i] for a, b in pairwise(stamps[2:])) for i in range(2))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"step": step, "cpu": cpu, "peak": peak, "loss": losses[-1], "first": losses[0]}))


def main() -> None:
    from tiny_model import build
    from trainings_by_hand import pairs
    from transformers import LlamaConfig, LlamaForCausalLM

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder / "student")
        shape = {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4, "num_attention_heads": 8}
        ids = {"bos_token_id": 3, "eos_token_id": 2, "pad_token_id": 0}
        LlamaForCausalLM(LlamaConfig(vocab_size=512, max_position_embeddings=256, **shape, **ids)).save_pretrained(
            folder / "student"
        )
        pairs(folder / "ds", 64)
        found: dict[str, list[dict[str, float]]] = {"plain": [], "ours": []}
        for number in range(ROUNDS):
            for which in sorted(found, reverse=bool(number % 2)):
                asks = [sys.executable, __file__, which, name]
                done = subprocess.run(asks, env=os.environ | SETTINGS, check=True, stdout=subprocess.PIPE, text=True)
                found[which].append(json.loads(done.stdout.splitlines()[-1]))
        for which, rounds in found.items():
            step, cpu, peak = (statistics.median(each[key] for each in rounds) for key in ("step", "cpu", "peak"))
            print(
                f"{which:6} step {1000 * step:7.1f} ms, {1000 * cpu:7.1f} ms of the processors  peak {peak:6.0f} MB  "
                f"last loss {rounds[0]['loss']:.8f}"
            )
        for key in ("step", "cpu"):
            ratios = [ours[key] / plain[key] for ours, plain in zip(found["ours"], found["plain"], strict=True)]
            print(f"{key}, ours over plain: {statistics.median(ratios):.3f} (rounds {[round(r, 3) for r in ratios]})")


if __name__ == "__main__":
    one(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) > 2 else main()
