"""Forward passes of a transformers model over tokens: the log-prob of answers, the reward of conversations.

    python benchmarks/score.py

Batches are of like length, longest first, and padded on the right, where a causal model does not look.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from deltadata.errors import UserError, need

BUDGET = 2048  # tokens of a forward pass; one sequence may have more
POSITIONS = 512  # whose log-probs over the vocabulary are held at once
Answer = tuple[list[int], list[int]]  # tokens of the prompt, tokens of the answer


def placed(dtype: str | None, where: str) -> tuple[Any, Any]:
    """The device, and the dtype: float32 on a CPU and bfloat16 on a GPU unless `dtype` says else.

    Raises UserError for a dtype that torch does not have.
    """
    torch = need("torch", "transformers")
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    kind = getattr(torch, dtype or ("float32" if device.type == "cpu" else "bfloat16"), None)
    if not isinstance(kind, torch.dtype):
        raise UserError(f"torch has no dtype {dtype!r}", where=where, cure="dtype: bfloat16, float16 or float32")
    return device, kind


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Places, longest first, so that what does not fit into memory fails at once."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def log_probs(model: Any, answers: Sequence[Answer], pad: int, budget: int = BUDGET) -> list[float]:
    """The summed log-prob of each answer's tokens after its prompt, in nats; prompts have at least one token.

    Where the model can, logits are made from the first answer of a batch on, not for the prompts before it.
    """
    import torch

    found = [0.0] * len(answers)
    spares = "logits_to_keep" in inspect.signature(model.forward).parameters
    for batch in batches([len(prompt) + len(answer) for prompt, answer in answers], budget):
        rows = [answers[i][0] + answers[i][1] for i in batch]
        ids, mask = _padded(rows, pad, model.device)
        first = min(len(answers[i][0]) for i in batch) - 1
        keep = {"logits_to_keep": ids.shape[1] - first} if spares else {}
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False, **keep).logits
            first = ids.shape[1] - logits.shape[1]
            for row, i in enumerate(batch):
                start, end = len(answers[i][0]), len(rows[row])
                found[i] = _summed(logits[row, start - 1 - first : end - 1 - first], ids[row, start:end])
    return found


def _summed(logits: Any, told: Any) -> float:
    import torch

    total = 0.0
    for some, tokens in zip(logits.split(POSITIONS), told.split(POSITIONS), strict=True):
        chances = torch.log_softmax(some.float(), dim=-1)
        total += float(chances.gather(-1, tokens[:, None]).sum(dtype=torch.float64))
    return total


def rewards(model: Any, rows: Sequence[list[int]], budget: int = BUDGET) -> list[float]:
    """The one logit of each row, before any activation. No row ends with the model's own padding token."""
    import torch

    found = [0.0] * len(rows)
    config, own = model.config.get_text_config(), model.config.get_text_config().pad_token_id
    for batch in batches([len(row) for row in rows], budget):
        # A classifier reads a row's last token that is no padding: without a token for it any that ends no row will do.
        ends = {rows[i][-1] for i in batch}
        pad = next(token for token in count() if token not in ends) if own is None else own
        ids, mask = _padded([rows[i] for i in batch], pad, model.device)
        config.pad_token_id = pad
        with torch.inference_mode():
            told = model(input_ids=ids, attention_mask=mask).logits[:, 0].float().tolist()
        config.pad_token_id = own
        for i, number in zip(batch, told, strict=True):
            found[i] = number
    return found


def _padded(rows: Sequence[list[int]], pad: int, device: Any) -> tuple[Any, Any]:
    import torch

    width = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    return ids, mask
