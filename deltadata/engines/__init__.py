"""The engine seam: conversations in, completions out. An engine knows no table and no run folder.

An engine is one module here with one function:

    open_engine(model: Model, runtime: dict) -> context manager of an Engine

and an Engine has one method, `generate`, plus `facts` (what the record and the card say of it).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any, Iterable, Iterator, NamedTuple, Protocol

ENGINES = ("vllm", "server", "transformers", "scripted")
HOSTED = ("vllm", "transformers")  # in a child process, whose output is a log
GUIDED = ("vllm", "server")  # take `json_schema` in `sampling`: the text is then JSON of that schema, unless it is cut


class Model(NamedTuple):
    """What is loaded: a local directory, a Hub id, or the name a server knows; rungs that share it share the load."""

    path: str
    revision: str | None = None
    dtype: str | None = None


class Conversation(NamedTuple):
    """One request: messages of {role, content} that end with the user's turn, and the seed of its random draws."""

    messages: list[dict[str, str]]
    seed: int
    template: dict[str, Any] = {}  # chat_template_kwargs, e.g. {"enable_thinking": False}


class Completion(NamedTuple):
    """One answer. `index`: the position of its conversation in what `generate` was given. Counts may be unknown."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls here
    text: str | None
    finish_reason: str  # stop | length | error
    error: str | None = None
    prompt_tokens: int | None = None
    response_tokens: int | None = None


def failed(index: int, reason: str, prompt_tokens: int | None = None) -> Completion:
    """The completion of a request that could not be answered: a row with its reason."""
    return Completion(index, None, "error", reason, prompt_tokens)


class Engine(Protocol):
    """One method. `facts` are JSON values: engine, version, and whatever else changes the text."""

    facts: dict[str, Any]

    def generate(self, conversations: Iterable[Conversation], sampling: dict[str, Any]) -> Iterator[Completion]:
        """Exactly one completion per conversation, in any order, as they finish.

        `conversations` may be lazy: it is pulled as fast as the engine can take more. `sampling` holds vLLM's
        SamplingParams names (temperature, max_tokens, top_p, stop ...) without `samples` and `seed`; for those that are
        GUIDED also `json_schema`.
        A request that fails is a Completion with `error`; only a broken engine raises (OutsideError), or a setting
        it cannot take (UserError).
        """
        ...


def open_engine(
    name: str, model: Model, runtime: dict[str, Any], log: Path | None = None
) -> AbstractContextManager[Engine]:
    """The engine called `name`. vLLM and transformers load in a child process, so that its exit returns the memory.

    `log` is where that child's output goes (the null device when None).
    """
    if name in HOSTED:
        from deltadata.engines.child import hosted

        return hosted(name, model, runtime, log)
    opened: AbstractContextManager[Engine] = import_module(f"deltadata.engines.{name}").open_engine(model, runtime)
    return opened
