"""What is seen of a training: a line or a bar with loss, accuracy, margin, tokens/s and time left; log.json.

TRL's rewards are beta times *summed* log-ratios, whatever the loss; here margin and accuracy are those of the trained
quantity: beta * (A(chosen) - A(rejected)), A a side's log-ratio per token of its answer, read off the forward pass
that the loss makes anyway.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deltadata.screen import Screen
from deltadata.store import write_json

QUIET_SECONDS = 10.0  # between two lines of a log, and between two writes of log.json
MARGIN, ACCURACY = "margin", "accuracy"


def measuring(base: type, beta: float, reference: Path, cache: str) -> type:
    """`base` (trl.DPOTrainer) that also logs `margin` and `accuracy`, and keeps reference log-probs in `reference`."""
    import torch
    from datasets import Dataset, concatenate_datasets

    class Measuring(base):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            self.reused: list[str] = []
            super().__init__(*arguments, **named)
            self._batch: Any = None
            self._sums = {mode: torch.zeros(3, device=self.accelerator.device) for mode in (True, False)}
            self.model.register_forward_hook(self._look, with_kwargs=True)

        def compute_loss(self, model: Any, inputs: Any, *arguments: Any, **named: Any) -> Any:
            self._batch = inputs
            return super().compute_loss(model, inputs, *arguments, **named)

        def _look(self, _module: Any, _arguments: Any, _named: Any, output: Any) -> None:
            batch, self._batch = self._batch, None  # a second pass would be a live reference's
            if batch is None or "ref_chosen_logps" not in batch:
                return
            counted = batch["completion_mask"].sum(1).clamp(min=1)
            logps = output.log_probs[:, 1 - batch["completion_mask"].shape[1] :].detach().sum(1)
            ratio = (logps - torch.cat([batch["ref_chosen_logps"], batch["ref_rejected_logps"]])) / counted
            chosen, rejected = ratio.float().chunk(2)
            margin = beta * (chosen - rejected)
            seen = [margin.sum(), (margin > 0).sum(), torch.full_like(margin, 1).sum()]
            self._sums[self.model.training] += torch.stack([value.to(self._sums[True].dtype) for value in seen])

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            mode = self.model.training
            margin, right, pairs = self.accelerator.reduce(self._sums[mode], "sum").tolist()
            if pairs:
                prefix = "" if mode else "eval_"
                logs |= {prefix + MARGIN: margin / pairs, prefix + ACCURACY: right / pairs}
            self._sums[mode].zero_()
            super().log(logs, start_time)

        def create_model_card(self, *_: Any, **__: Any) -> None:
            """Ours stands beside the model; TRL's would name the checkpoints' folder."""

        def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
            kept = reference / f"{name}.parquet"
            if kept.exists():
                found = Dataset.from_parquet(str(kept), cache_dir=cache)
                if len(found) == len(dataset):
                    self.reused.append(name)
                    return concatenate_datasets([dataset, found], axis=1)
            told = super()._precompute_ref_logps(dataset, name, batch_size)
            if self.accelerator.is_main_process:
                columns = [column for column in told.column_names if column not in dataset.column_names]
                temporary = kept.with_name(f".tmp-{kept.name}")
                reference.mkdir(parents=True, exist_ok=True)
                told.select_columns(columns).to_parquet(temporary)
                temporary.replace(kept)
            return told

    return Measuring


def without_card(base: type) -> type:
    """`base` (trl.SFTTrainer) without a model card of TRL's."""

    class Plain(base):  # type: ignore[misc]
        def create_model_card(self, *_: Any, **__: Any) -> None:
            """Ours stands beside the model."""

    return Plain


def callback(screen: Screen, log: Path) -> Any:
    """A TrainerCallback of the main process: progress on the screen, the history as JSON in `log`."""
    from transformers import TrainerCallback

    class Watching(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self._bar: Progress | None = None
            self._said = self._wrote = self._began = time.monotonic()
            self._tokens = self._first = 0.0

        def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            self._began, self._first = time.monotonic(), state.global_step
            if state.is_world_process_zero and screen.console.is_terminal:
                told = TextColumn("{task.fields[told]}", markup=False)
                columns = (BarColumn(), MofNCompleteColumn(), told, TimeRemainingColumn())
                self._bar = Progress(*columns, console=screen.console, transient=True)
                self._bar.add_task("steps", total=state.max_steps, completed=state.global_step, told="")
                self._bar.start()

        def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            if self._bar:
                self._bar.update(self._bar.task_ids[0], completed=state.global_step)

        def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
            if not state.is_world_process_zero:
                return
            now = time.monotonic()
            if now - self._wrote > QUIET_SECONDS:
                self._wrote = now
                write_json(log, finite(state.log_history))
            if not logs or "loss" not in logs:
                return
            told = line(logs, self._speed(logs, now))
            if self._bar:
                self._bar.update(self._bar.task_ids[0], told=told)
            elif now - self._said > QUIET_SECONDS or state.global_step in (1, state.max_steps):
                self._said = now
                left = (state.max_steps - state.global_step) * (now - self._began)
                left /= max(state.global_step - self._first, 1)
                screen.note(f"step {state.global_step}/{state.max_steps}: {told}, about {left:.0f} s left")

        def _speed(self, logs: dict[str, float], now: float) -> float | None:
            """Tokens a second since training began, of the tokens of this session."""
            total = logs.get("num_tokens")
            if total is None:
                return None
            if not self._tokens:
                self._tokens, self._since = total, now
                return total / max(now - self._began, 1e-9) if not self._first else None
            return (total - self._tokens) / max(now - self._since, 1e-9)

        def on_train_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            self.close()
            if state.is_world_process_zero:
                write_json(log, finite(state.log_history))

        def close(self) -> None:
            """Leave the terminal as it was."""
            if self._bar:
                self._bar.stop()
                self._bar = None

    return Watching()


def line(logs: dict[str, float], speed: float | None) -> str:
    """Loss, and where they are known accuracy, margin and tokens/s."""
    told = [f"loss {logs['loss']:.4f}"]
    if ACCURACY in logs:
        told += [f"accuracy {logs[ACCURACY]:.2f}", f"margin {logs[MARGIN]:+.3f}"]
    return ", ".join([*told, *([f"{speed:.0f} tok/s"] if speed else [])])


def finite(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The history without what JSON cannot hold: null in its place."""
    return [
        {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in entry.items()
        }
        for entry in history
    ]
