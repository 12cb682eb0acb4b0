"""Prompts and responses as the tokens that a model scores, the same for every engine; and what its child is told.

    python -m pytest tests/test_forward.py -k tokens

A reward model reads the whole conversation in its own template; text stays text (`engines.chat`). Of a language model
the response's tokens are wanted, its end of turn included, as TRL trains them (`preflight.tokenised`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from deltadata import preflight
from deltadata.engines.chat import ChatError, written
from deltadata.errors import UserError

REWARD, LOG_PROB = "reward_model", "logprob"
NO_PROMPT, FILLS, REFUSED, NO_TOKEN, CUT = (
    *("empty prompt", "the prompt fills the window", "template refused", "no token to score"),
    "cut",
)
# Below these a difference of two mean log-probs is the arithmetic's noise. In bfloat16 the largest change of 50 real
# pairs' deltas against float32 was 0.022 with vLLM 0.32 and 0.013 with transformers (SmolLM2-135M, Gemma's AlpacaEval
# answers); in float32 vLLM and transformers were 3e-6 apart.
RESOLUTION = {"float32": 1e-4}
COARSE = 0.025

Row = tuple[list[dict[str, str]], str]  # messages of {role, content}, and the response
Scored = tuple[float | None, str | None]  # the number; why there is none, or that the response was cut


class Wanted(NamedTuple):
    """What a child opens its model for; `runtime` holds the engine's own arguments."""

    kind: str
    max_length: int | None
    batch_tokens: int
    runtime: dict[str, Any]


class Tokens(NamedTuple):
    """A prompt and its response, cut at the window; for a reward model all of it is `answer`."""

    prompt: list[int]
    answer: list[int]
    cut: bool


def window(config: Any, max_length: int | None, where: str) -> int:
    """Tokens of prompt and response. Raises UserError for more than the model has positions."""
    most = getattr(config.get_text_config(), "max_position_embeddings", None)
    if max_length and most and max_length > most:
        what = f"the model has {most} positions, not {max_length}"
        raise UserError(what, where=where, cure=f"max_length: {most}, or leave it out")
    return int(max_length or most or sys.maxsize)


def refuse_labels(labels: int, where: str) -> None:
    """Raises UserError unless a classifier has one output."""
    if labels != 1:
        what = f"no reward model: num_labels is {labels}, and only one output is a score"
        cure = "give a sequence classifier with num_labels 1; a language model scores by `logprob` or as a `judge`"
        raise UserError(what, where=where, cure=cure)


def resolution(kind: str, dtype: str) -> dict[str, float]:
    """The fact of that name, for a log-prob."""
    return {"resolution": RESOLUTION.get(dtype, COARSE)} if kind == LOG_PROB else {}


def tokens(kind: str, tokenizer: Any, rows: list[Row], most: int, pad: int | None = None) -> list[Tokens | str]:
    """Each row's tokens, `most` at most, or why it has none. `pad` is what a reward model does not see at an end."""
    if kind == REWARD:
        return [_conversation(tokenizer, *row, most, pad) for row in rows]
    found: list[Tokens | str] = [NO_PROMPT] * len(rows)
    asked = [place for place, (messages, _) in enumerate(rows) if messages]
    for place, told in zip(asked, _trained(tokenizer, [rows[place] for place in asked]), strict=True):
        found[place] = told if isinstance(told, str) else _answer(told, most)
    return found


def _conversation(tokenizer: Any, messages: list[dict[str, str]], response: str, most: int, pad: int | None) -> Any:
    """All of it, cut on the side where the tokenizer cuts."""
    if not messages:
        return NO_PROMPT
    try:
        ids = written(tokenizer, [*messages, {"role": "assistant", "content": response}], asks=False)
        cut = len(ids) > most
        if cut and tokenizer.truncation_side == "left":
            ids = ids[-most:]
        elif cut:
            if len(written(tokenizer, messages)) >= most:
                return FILLS
            ids = ids[:most]
    except ChatError:
        return REFUSED
    while len(ids) > 1 and ids[-1] == pad:
        ids = ids[:-1]
    return Tokens([], ids, cut) if ids else NO_TOKEN


def _answer(told: preflight.Tokens, most: int) -> Tokens | str:
    ((_, answer),) = told.sides.items()
    room = most - len(told.prompt)
    if room <= 0:
        return FILLS
    return Tokens(told.prompt, answer[:room], len(answer) > room) if told.prompt and answer else NO_TOKEN


def _trained(tokenizer: Any, rows: list[Row]) -> list[preflight.Tokens | str]:
    """As TRL tokenises them, all at once; one by one where the template refuses any."""
    side = "response"
    asked = [{"prompt": told, side: [{"role": "assistant", "content": text}]} for told, text in rows]
    try:
        return [*preflight.tokenised(tokenizer, asked, (side,))]
    except UserError:
        return [REFUSED] if len(rows) == 1 else [_trained(tokenizer, [row])[0] for row in rows]


def scored(found: list[Tokens | str], numbers: Callable[[list[Tokens]], list[float]]) -> list[Scored]:
    """The rows' scores in order: `numbers` is asked for those that have tokens."""
    given = iter(numbers([told for told in found if isinstance(told, Tokens)]))
    return [(None, told) if isinstance(told, str) else (next(given), CUT if told.cut else None) for told in found]
