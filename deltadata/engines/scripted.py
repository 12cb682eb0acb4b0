"""An engine without a model: a deterministic answer from (model name, conversation, seed). For tests and dry runs.

    generate: {engine: scripted, rungs: [{name: strong, model: any-name}, ...]}
    runtime: {scripted: {characters: 400, delay: 0.01, log: requests.txt}}

`delay` is seconds per answer; `log` gets one line per request, so that a test can count what was asked.
A prompt that contains the text of `fail_on` fails, as a real request would.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterable, Iterator

from deltadata.engines import Completion, Conversation, Model, failed
from deltadata.errors import UserError, did_you_mean

WORDS = (
    "the",
    "a",
    "small",
    "river",
    "bread",
    "light",
    "seven",
    "green",
    "answer",
    "because",
    "first",
    "then",
    "of",
    "is",
)
OPTIONS = {"characters": 240, "delay": 0.0, "log": None, "fail_on": None, "context": 100_000}


class Scripted:
    """Greedy answers depend on model and conversation alone; a temperature lets the seed in."""

    def __init__(self, model: Model, options: dict[str, Any]) -> None:
        self.model, self.options = model, OPTIONS | options
        self.facts = {"engine": "scripted", "engine_version": "1"}

    def generate(self, conversations: Iterable[Conversation], sampling: dict[str, Any]) -> Iterator[Completion]:
        log = Path(self.options["log"]) if self.options["log"] else None
        for index, conversation in enumerate(conversations):
            time.sleep(self.options["delay"])
            if log:
                with log.open("a") as lines:
                    lines.write(f"{self.model.path} {conversation.seed}\n")
            yield self._answer(index, conversation, sampling)

    def _answer(self, index: int, conversation: Conversation, sampling: dict[str, Any]) -> Completion:
        if not conversation.messages or not all(message["content"].strip() for message in conversation.messages):
            return failed(index, "empty conversation")
        text = "\n".join(message["content"] for message in conversation.messages)
        prompt_tokens = len(text.split())
        if len(text) > self.options["context"]:
            return failed(index, f"prompt of {len(text)} characters exceeds {self.options['context']}", prompt_tokens)
        if self.options["fail_on"] and self.options["fail_on"] in text:
            return failed(index, f"scripted failure on {self.options['fail_on']!r}", prompt_tokens)
        seed = conversation.seed if sampling.get("temperature") else "greedy"
        draw = random.Random(f"{self.model.path}|{text}|{seed}")
        words: list[str] = []
        length, wanted = 0, draw.uniform(0.5, 1.5) * self.options["characters"]
        while length < wanted:
            words.append(draw.choice(WORDS))
            length += len(words[-1]) + 1
        limit = sampling.get("max_tokens", len(words))
        reason = "stop" if len(words) <= limit else "length"
        return Completion(index, " ".join(words[:limit]), reason, None, prompt_tokens, min(len(words), limit))


@contextmanager
def open_engine(model: Model, runtime: dict[str, Any]) -> Iterator[Scripted]:
    """Raises UserError when `runtime.scripted` is no mapping, and for an unknown option in it."""
    options = runtime.get("scripted", {})
    if not isinstance(options, dict):
        raise UserError("is no mapping", where="runtime.scripted", cure="e.g. {characters: 400}, or leave it out")
    for key in options:
        if key not in OPTIONS:
            raise UserError("unknown option", where=f"runtime.scripted.{key}", cure=did_you_mean(key, OPTIONS))
    yield Scripted(model, options)
