"""Plain transformers as an engine: starts in seconds and runs wherever torch does, slower than vLLM on long jobs.

    deltadata generate recipes/quickstart.yaml --set generate.engine=transformers

Loaded through `deltadata.engines.child`. What one call of `generate` is given is answered in batches sorted by length;
the random draws of a batch come from the seeds of its members, so the same call gives the same texts, another cut of
the same prompts others. Token counts are vLLM's: the token that ended the answer is counted, padding is not.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from itertools import islice
from typing import Any, Iterable, Iterator, NamedTuple

from deltadata.engines import Completion, Conversation, Engine, Model, failed
from deltadata.engines.chat import ChatError, check_template, encode
from deltadata.errors import UserError, did_you_mean, need

BATCHES = 8  # pulled and sorted together
SETTINGS = {"batch_size": 32, "max_model_len": None}
SAMPLING: dict[str, Any] = {  # vLLM's names and defaults
    "max_tokens": 16,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "stop": (),
}


class Request(NamedTuple):
    """`place`: its position in what `generate` was given."""

    place: int
    ids: list[int]
    seed: int


@contextmanager
def open_engine(model: Model, runtime: dict[str, Any]) -> Iterator[Engine]:
    """A loaded model. `runtime` may hold `batch_size` (requests) and `max_model_len` (tokens).

    Raises UserError for any other key, and for a model or a dtype that transformers does not know.
    """
    for key in runtime:
        if key not in SETTINGS:
            cure = did_you_mean(key, SETTINGS)
            raise UserError("not a setting of the transformers engine", where=f"runtime.{key}", cure=cure)
    torch = need("torch", "transformers")
    need("transformers", "transformers")
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    fast = "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"
    dtype = model.dtype or (fast if device.type == "cpu" else "auto")
    if dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise UserError(f"torch has no dtype {dtype!r}", where=model.path, cure="dtype: bfloat16, float16 or float32")
    tokenizer = AutoTokenizer.from_pretrained(model.path, revision=model.revision)
    check_template(tokenizer, model.path)
    try:
        loaded = AutoModelForCausalLM.from_pretrained(model.path, revision=model.revision, dtype=dtype)
    except ValueError as refusal:
        raise UserError(
            f"transformers refuses: {refusal}", where=model.path, cure="give a causal language model"
        ) from refusal
    eos = loaded.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(eos if isinstance(eos, list) else [eos])} - {None}
    loaded.generation_config = GenerationConfig()  # the recipe's sampling, and nothing that the model's author preset
    yield TransformersEngine(loaded.to(device).eval(), tokenizer, ends, model, SETTINGS | runtime)


class TransformersEngine:
    """An `Engine` around `model.generate`."""

    def __init__(self, loaded: Any, tokenizer: Any, ends: set[int], model: Model, settings: dict[str, Any]) -> None:
        import torch
        import transformers

        self._model, self._tokenizer, self._ends = loaded, tokenizer, ends
        self._batch: int = settings["batch_size"]
        longest = getattr(loaded.config.get_text_config(), "max_position_embeddings", None)
        self._limit: int = settings["max_model_len"] or longest or 4096
        self.facts: dict[str, Any] = {
            "engine": "transformers",
            "engine_version": transformers.__version__,
            "torch_version": torch.__version__,
            "device": loaded.device.type,
            "dtype": str(loaded.dtype).removeprefix("torch."),
            "max_model_len": self._limit,
            "batch_size": self._batch,
            "revision": getattr(loaded.config, "_commit_hash", None) or model.revision,
            "chat_template": check_template(tokenizer, model.path),
        }

    def generate(self, conversations: Iterable[Conversation], sampling: dict[str, Any]) -> Iterator[Completion]:
        """As in `Engine`; a batch's completions come together."""
        settings = _settings(sampling)
        waiting = enumerate(conversations)
        while pulled := list(islice(waiting, BATCHES * self._batch)):
            requests = []
            for index, conversation in pulled:
                try:
                    ids = encode(self._tokenizer, conversation)
                except ChatError as refusal:
                    yield failed(index, str(refusal))
                    continue
                if len(ids) >= self._limit:
                    most = f"the engine takes at most {self._limit - 1} (max_model_len - 1)"
                    yield failed(index, f"the prompt has {len(ids)} tokens, {most}", len(ids))
                else:
                    requests.append(Request(index, ids, conversation.seed))
            requests.sort(key=lambda request: (len(request.ids), request.place))
            for start in range(0, len(requests), self._batch):
                yield from self._answer(requests[start : start + self._batch], settings)

    def _answer(self, batch: list[Request], settings: dict[str, Any]) -> Iterator[Completion]:
        import torch

        stops, width = settings["stop_strings"], max(len(request.ids) for request in batch)
        pad = self._tokenizer.pad_token_id
        pad = min(self._ends, default=0) if pad is None else pad
        ids = [[pad] * (width - len(request.ids)) + request.ids for request in batch]
        mask = [[0] * (width - len(request.ids)) + [1] * len(request.ids) for request in batch]
        seeds = ",".join(str(request.seed) for request in batch)
        torch.manual_seed(int.from_bytes(hashlib.sha256(seeds.encode()).digest()[:7]))
        with torch.inference_mode():
            rows = self._model.generate(
                input_ids=torch.tensor(ids, device=self._model.device),
                attention_mask=torch.tensor(mask, device=self._model.device),
                eos_token_id=sorted(self._ends) or None,
                pad_token_id=pad,
                tokenizer=self._tokenizer if stops else None,
                **settings,
            )
        for request, row in zip(batch, rows[:, width:].tolist(), strict=True):
            yield self._completion(request, row, stops or [])

    def _completion(self, request: Request, row: list[int], stops: list[str]) -> Completion:
        """What one row of a batch says: up to its end, its stop string or the model's last position."""
        end = next((place + 1 for place, token in enumerate(row) if token in self._ends), len(row))
        tokens = row[: min(end, self._limit - len(request.ids))]
        text = self._decode(tokens)
        reason = "stop" if tokens and tokens[-1] in self._ends else "length"
        if cuts := [text.index(stop) for stop in stops if stop in text]:
            reason, text = "stop", text[: min(cuts)]
            # As many tokens as it took to complete a stop string.
            while any(stop in self._decode(tokens[:-1]) for stop in stops):
                tokens = tokens[:-1]
        return Completion(request.place, text, reason, None, len(request.ids), len(tokens))

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))


def _settings(sampling: dict[str, Any]) -> dict[str, Any]:
    """`sampling` in transformers' names. Raises UserError for what it has no word for."""
    for key in sampling:
        if key not in SAMPLING:
            cure = did_you_mean(key, SAMPLING)
            raise UserError("not a setting of the transformers engine", where=f"sampling.{key}", cure=cure)
    given = SAMPLING | {key: value for key, value in sampling.items() if value is not None}
    for key, value in given.items():
        if key != "stop" and (not isinstance(value, int | float) or (value < 0 and key != "top_k")):
            raise UserError(f"{value!r} is not a number from 0 on", where=f"sampling.{key}", cure="change the value")
    if not 0 < given["top_p"] <= 1:
        raise UserError(f"{given['top_p']} is not above 0 and up to 1", where="sampling.top_p", cure="change the value")
    stop = given["stop"]
    settings = {
        "max_new_tokens": given["max_tokens"],
        "repetition_penalty": given["repetition_penalty"],
        "stop_strings": [stop] if isinstance(stop, str) else list(stop) or None,
        "do_sample": given["temperature"] > 0,
    }
    if settings["do_sample"]:
        settings |= {key: given[key] for key in ("temperature", "top_p")}
        settings |= {"top_k": max(given["top_k"], 0), "min_p": given["min_p"] or None}
    return settings
