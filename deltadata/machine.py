"""What a training asks of the machine: room on the disk, an allocator that keeps its pages, silence of others.

`train` uses it; a failing disk or a full memory becomes an error that says what is kept.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deltadata.errors import OutsideError
from deltadata.store import disk

# What torch's and safetensors' writers say of a full disk; they raise errors of their own.
_FULL = ("PytorchStreamWriter", "inline_container", "No space left", "File too large", "I/O error", "quota")
_MALLOC = {-1: 2**31 - 1, -2: 10**9, -3: 2**31 - 1}  # trim threshold, top pad, mmap threshold, in bytes


def need_room(model: Any, folder: Path, checkpoints: bool) -> None:
    """Raises OutsideError when the model and two checkpoints (a new one is written before the old goes) do not fit."""
    trained = 4 * sum(weights.numel() for weights in model.parameters() if weights.requires_grad)
    room(7 * trained if checkpoints else trained, shutil.disk_usage(folder).free, folder)


def room(needed: int, free: int, folder: Path) -> None:
    """Raises OutsideError when `needed` bytes are more than are `free`."""
    if free < needed:
        what = f"{free / 1e9:.3g} GB are free, and the model with its checkpoints may take {needed / 1e9:.3g} GB"
        raise OutsideError(what, where=str(folder), cure="make room, or set train.args.save_strategy=no")


def quick_malloc() -> None:
    """Let glibc keep large blocks: given back after every step they are faulted in again, half of a CPU step's time."""
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        for option, value in _MALLOC.items():
            mallopt(option, value)


def quiet() -> None:
    """No bars and no advice of other libraries, and no usage ping."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


@contextmanager
def kept(folder: Path) -> Iterator[None]:
    """A full disk and a full memory as errors that say what is kept."""
    import torch
    from safetensors import SafetensorError

    again = "make room and run the same command again: it goes on from the last whole checkpoint"
    try:
        with disk(folder, "the last whole checkpoint is kept"):
            yield
    except torch.OutOfMemoryError as problem:
        cure = "lower train.args.per_device_train_batch_size (accumulation follows), or use train.lora or more GPUs"
        said = str(problem).partition("\n")[0]
        raise OutsideError(f"the GPU's memory is full: {said}", where=str(folder), cure=cure) from None
    except (RuntimeError, SafetensorError) as problem:
        if not any(word in str(problem) for word in _FULL):
            raise
        said = str(problem).partition("\n")[0]
        raise OutsideError(
            f"cannot write ({said}); the last whole checkpoint is kept", where=str(folder), cure=again
        ) from None
