"""What each published column means, in a line: the card's tables of columns.

A measure that is added to `measure` is explained here as well; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from deltadata import measure, tables
from deltadata.tables import CHOSEN, CONTENT, FINISH, MODEL, REJECTED, ROLE, SIDES, TOKENS, of

_SIDE = {
    MODEL: "the rung whose answer is `{side}`",
    TOKENS: "its length in tokens, as the engine counted; null where nobody did",
    FINISH: "`stop`, or `length` where the token limit cut it off; null where unknown",
}
_MEANINGS = {
    tables.PROMPT: f"the conversation so far, as `{{{ROLE}, {CONTENT}}}`; ends with the user's turn",
    CHOSEN: "the preferred answer: one assistant turn",
    REJECTED: "the other answer: one assistant turn",
    tables.PROMPT_ID: "16 hex digits of the SHA-256 of the prompt: the key between both configs",
    tables.POOL: "the prompt pool it comes from",
    MODEL: "the rung that answered",
    tables.SAMPLE: "which of the rung's answers to the prompt, from 0",
    tables.RESPONSE: "the answer's text; null where the generation failed",
    FINISH: "`stop`, `length` (cut off at the token limit) or `error`",
    tables.ERROR: "why the generation failed; null where it did not",
    tables.PROMPT_TOKENS: "tokens of the prompt, as the engine counted",
    tables.RESPONSE_TOKENS: "tokens of the answer, as the engine counted",
    tables.SIMILARITY: "how alike the two texts are, 0 to 1: symmetric, so no delta",
    tables.PREFERENCE_TYPE: "what says that `chosen` is better: "
    f"`{tables.BY_ORDER}` of the rungs, `{tables.BY_SCORE}`, or `{tables.BY_BOTH}`",
    tables.SOFT_LABEL: "share of the scorers under `pair.soft_label` that prefer `chosen`, a tie counting half; "
    "null where none knows",
} | {of(side, column): text.format(side=side) for side in SIDES for column, text in _SIDE.items()}

_DELTAS = {
    measure.tokens: "length in tokens",
    measure.characters: "length in characters",
    measure.response_ratio: "log2 of the length in characters: +1 is twice as long",
    measure.sentences: "sentences outside code blocks",
    measure.bold: "bold spans outside code blocks",
    measure.bullets: "list items outside code blocks",
    measure.headings: "headings outside code blocks",
    measure.code: "fenced code blocks",
    measure.repetition: "share of the runs of four words that stood before in the answer",
    measure.refusal: "1 where the answer opens with a refusal, else 0",
    measure.identity: "1 where the answer says that it is a model, which, or whose, else 0",
    measure.date_cutoff: "1 where the answer says until when its knowledge goes, else 0",
    measure.non_latin: "share of the letters that are not of the Latin script",
    measure.ladder_distance: "rungs between the two sides, positive where the chosen one is the stronger",
    measure.params_ratio: "log2 of the parameters: +1 is a model of twice the size",
}

_MEANINGS |= {tables.delta(found.__name__): text for found, text in _DELTAS.items()}


def meaning(column: str, scorers: Collection[str]) -> str:
    """Markdown. Raises KeyError for a column that no published table has."""
    if column in _MEANINGS:
        return _MEANINGS[column]
    for scorer in scorers:
        if column == tables.scored(scorer):
            return f"what `{scorer}` gave the answer; null where it gave nothing"
        if column == tables.delta(scorer):
            return f"score by `{scorer}`; null where a side has none"
    raise KeyError(column)


def kind(feature: dict[str, Any]) -> str:
    """A column's type for people: string, float64, or list of {role, content}."""
    inner = feature.get("list")
    if inner is None:
        return str(feature["dtype"])
    return f"list of {inner if isinstance(inner, str) else '{' + ', '.join(field['name'] for field in inner) + '}'}"
