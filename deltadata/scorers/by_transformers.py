"""The child's side of a scorer that runs a model once, with transformers (`scorers.forward` is the parent's).

score: [{name: reward, scorer: reward_model, model: DIRECTORY or owner/name}]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from deltadata.engines import Model
from deltadata.engines.chat import check_template
from deltadata.errors import UserError, need
from deltadata.scorers import passes
from deltadata.scorers.sequences import (
    LOG_PROB,
    REWARD,
    Row,
    Scored,
    Tokens,
    Wanted,
    refuse_labels,
    resolution,
    scored,
    tokens,
    window,
)


@contextmanager
def open_engine(model: Model, wanted: Wanted) -> Iterator[ByTransformers]:
    """The loaded model. Raises UserError for one that is not of the kind wanted, or has no chat template."""
    need("transformers", "transformers")
    from transformers import AutoConfig, AutoTokenizer

    device, dtype = passes.placed(model.dtype, model.path)
    try:
        config = AutoConfig.from_pretrained(model.path, revision=model.revision)
        most = window(config, wanted.max_length, model.path)
        if wanted.kind == REWARD:
            refuse_labels(config.num_labels, model.path)
        tokenizer = AutoTokenizer.from_pretrained(model.path, revision=model.revision)
        template = check_template(tokenizer, model.path)
        loaded = _loaded(model, wanted.kind, dtype)
    except ValueError as refusal:
        cure = "give a reward model" if wanted.kind == REWARD else "give a causal language model"
        raise UserError(f"transformers refuses: {refusal}", where=model.path, cure=cure) from refusal
    facts = {"chat_template": template, "max_length": most}
    yield ByTransformers(loaded.to(device).eval(), tokenizer, wanted, model, facts)


def _loaded(model: Model, kind: str, dtype: Any) -> Any:
    """Raises UserError when weights are missing: transformers would draw them at random."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    which = AutoModelForSequenceClassification if kind == REWARD else AutoModelForCausalLM
    loaded, found = which.from_pretrained(model.path, revision=model.revision, dtype=dtype, output_loading_info=True)
    if missing := sorted(found["missing_keys"]):
        what = f"the model's files lack weights: {', '.join(missing[:3])}"
        raise UserError(what, where=model.path, cure=f"give a model that was trained as a {type(loaded).__name__}")
    return loaded


class ByTransformers:
    """`generate` takes lists of rows, and gives for each the list of their scores."""

    pulls = 1

    def __init__(self, loaded: Any, tokenizer: Any, wanted: Wanted, model: Model, facts: dict[str, Any]) -> None:
        import torch
        import transformers

        self._model, self._tokenizer, self._wanted = loaded, tokenizer, wanted
        dtype = str(loaded.dtype).removeprefix("torch.")
        self.facts: dict[str, Any] = {
            "engine": "transformers",
            "engine_version": transformers.__version__,
            "torch_version": torch.__version__,
            "device": loaded.device.type,
            "dtype": dtype,
            "revision": getattr(loaded.config, "_commit_hash", None) or model.revision,
            **facts,
            **({"truncation_side": tokenizer.truncation_side} if wanted.kind == REWARD else {}),
            **resolution(wanted.kind, dtype),
        }

    def generate(self, units: Iterable[list[Row]], _: dict[str, Any]) -> Iterator[list[Scored]]:
        """Batches are sorted within a unit alone, so that its numbers are the same whatever comes before it."""
        kind, most, pad = self._wanted.kind, self.facts["max_length"], self._model.config.get_text_config().pad_token_id
        for rows in units:
            yield scored(tokens(kind, self._tokenizer, rows, most, pad), self._numbers)

    def _numbers(self, found: list[Tokens]) -> list[float]:
        budget = self._wanted.batch_tokens
        if self._wanted.kind != LOG_PROB:
            return passes.rewards(self._model, [told.answer for told in found], budget)
        summed = passes.log_probs(self._model, [(told.prompt, told.answer) for told in found], 0, budget)
        return [total / len(told.answer) for total, told in zip(summed, found, strict=True)]
