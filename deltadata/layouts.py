"""Where in a row a value stands, and what it means as a conversation: text, OpenAI messages or ShareGPT turns.

python -c "from deltadata.layouts import *; print(messages([{'from': 'human', 'value': 'Hi'}], 'turns'))"
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any, Literal, NamedTuple

from deltadata.tables import CONTENT, ROLE

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
ROLES = (SYSTEM, USER, ASSISTANT)
Take = Literal["auto", "first_user", "history", "chosen"]

_FROM, _VALUE = "from", "value"  # ShareGPT's names of role and content
_TOOL = ("tool", "function", "ipython")  # known, and nothing that a prompt can be made of
_OPENAI = {**{role: role for role in (*ROLES, *_TOOL)}, "developer": SYSTEM}
_SHAREGPT = {
    **_OPENAI,
    **dict.fromkeys(("human", "prompter"), USER),
    **dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "bot", "model"), ASSISTANT),
    **dict.fromkeys(("function_call", "tool_call", "observation", "function_response", "tool_response"), "tool"),
}
_TEXT = "text"  # the only kind of an OpenAI content part that is taken, and the key of its text
_INDEX = re.compile(r"-?[0-9]{1,9}")
_DEPTH = 4


class BadRow(ValueError):
    """Met when a row cannot be used; the message is the reason, to stand beside the row."""


class Missing(BadRow):
    """Met when a row has nothing at the path that was asked for."""


class _Turn(NamedTuple):
    """`role` is one of ROLES or, of a turn that no prompt can hold, another; `content` is as it was found."""

    role: str
    content: Any
    where: str
    place: str


def column_of(path: str, columns: Collection[str]) -> str | None:
    """The column that `path` begins with: the longest name, for names may have dots themselves. None: no such."""
    name = path
    while name not in columns:
        name, dot, _ = name.rpartition(".")
        if not dot:
            return None
    return name


def value_at(row: dict[str, Any], path: str) -> Any:
    """What stands at `path`: a column, or names and places in it (`data.prompt.text`, `conversations.-1.value`).

    A name that has dots itself wins over the path of its parts. Raises Missing, with the reason, when nothing is there.
    """
    if path in row:
        return row[path]
    value: Any = row
    rest, done = path, ""
    while True:
        if isinstance(value, dict):
            found = column_of(rest, value)
            if found is None:
                raise Missing(f"no column {path!r}" + (f": {done} has no {rest.partition('.')[0]!r}" if done else ""))
            name, value = found, value[found]
        elif isinstance(value, list):
            name = rest.partition(".")[0]
            if not _INDEX.fullmatch(name):
                raise Missing(f"no column {path!r}: {done} is a list, and {name!r} is no place in it")
            if not -len(value) <= int(name) < len(value):
                raise Missing(f"no column {path!r}: {done} has {len(value)} items")
            value = value[int(name)]
        else:
            what = "null" if value is None else f"of type {type(value).__name__}"
            raise Missing(f"no column {path!r}: {done} is {what}")
        if name == rest:
            return value
        rest, done = rest[len(name) + 1 :], f"{done}.{name}" if done else name


def values_at(row: dict[str, Any], asked: Iterable[str]) -> dict[str, Any]:
    """What stands at those of the paths where something does, by path."""
    found = {}
    for path in asked:
        with suppress(Missing):
            found[path] = value_at(row, path)
    return found


def paths(value: Any, depth: int = _DEPTH) -> Iterator[str]:
    """The paths of what a row holds, the first item of a list standing for all; for a message of what there is."""
    if isinstance(value, dict):
        inside = [(str(name), value[name]) for name in value]
    else:
        inside = [("0", value[0])] if isinstance(value, list) and value else []
    for name, below in inside:
        yield name
        if depth > 1:
            yield from (f"{name}.{path}" for path in paths(below, depth - 1))


def messages(value: Any, column: str, take: Take = "auto") -> list[dict[str, str]]:
    """The prompt in `value`, ending with a turn of the user: text, or a conversation of either layout.

    auto: all of it. first_user: the first user turn and the system turns before it. history: up to the last user turn.
    chosen: what comes before the last assistant turn, for a preference set's chosen conversation.
    Raises BadRow with the reason when there is no such prompt.
    """
    if take == "auto":
        prompt = conversation(value, column)
        if prompt[-1][ROLE] != USER:
            cure = "; `take: history` cuts it off" if any(turn[ROLE] == USER for turn in prompt) else ""
            raise BadRow(f"{column} ends with a turn of {prompt[-1][ROLE]}, not of {USER}{cure}")
        return prompt
    if isinstance(value, str):
        if take == "chosen":
            raise BadRow(f"{column} is text; `take: chosen` needs a conversation that ends with the response")
        return conversation(value, column)
    turns = _turns(value, column)
    last = ASSISTANT if take == "chosen" else USER
    places = [i for i, turn in enumerate(turns) if turn.role == last]
    if not places:
        raise BadRow(f"{column} has no turn of {last}")
    if take == "history":
        return _plain(turns[: places[-1] + 1])
    if take == "first_user":
        system = [turn for turn in turns[: places[0]] if turn.role == SYSTEM]
        return _plain([*system, turns[places[0]]])
    before = turns[: places[-1]]
    if not before or before[-1].role != USER:
        had = f"a turn of {before[-1].role}" if before else "nothing"
        raise BadRow(f"{column} has {had} before the last turn of {ASSISTANT}, not a turn of {USER}")
    return _plain(before)


def conversation(value: Any, column: str) -> list[dict[str, str]]:
    """Messages of only role and content, the text as it is; a string is one user message.

    Raises BadRow with the reason when that cannot be had: another type, a wrong role, no text, not UTF-8.
    """
    if isinstance(value, str):
        return [{ROLE: USER, CONTENT: text(value, column)}]
    return _plain(_turns(value, column))


def answer(value: list[Any], column: str) -> Any:
    """The content of a conversation's last turn, null included. Raises BadRow when it is not the assistant's."""
    try:
        turn = _turn(value[-1], f"{column}[{len(value) - 1}]") if value else None
    except BadRow:
        turn = None
    if turn is None or turn.role != ASSISTANT:
        raise BadRow(f"{column} does not end with a turn of {ASSISTANT}")
    return _joined(turn.content, f"{turn.where}.{turn.place}")


def text(value: Any, column: str, may_be_empty: bool = False) -> str:
    """`value` if it is text that can be stored. Raises BadRow with the reason."""
    if value is None:
        raise BadRow(f"{column} is null")
    if not isinstance(value, str):
        raise BadRow(f"{column} is not text but of type {type(value).__name__}")
    if not may_be_empty and not value.strip():
        raise BadRow(f"{column} has no text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRow(f"{column} holds what UTF-8 cannot (half of a surrogate pair, or broken bytes)") from None
    return value


def _turns(value: Any, column: str) -> list[_Turn]:
    """The turns, roles known and contents not yet looked at. Raises BadRow."""
    if value is None:
        raise BadRow(f"{column} is null")
    if not isinstance(value, list):
        raise BadRow(f"{column} is neither text nor a list of messages but of type {type(value).__name__}")
    if not value:
        raise BadRow(f"{column} has no messages")
    return [_turn(message, f"{column}[{i}]") for i, message in enumerate(value)]


def _turn(message: Any, where: str) -> _Turn:
    """One message of either layout. Raises BadRow."""
    if not isinstance(message, dict):
        raise BadRow(f"{where} is no message of role and content but of type {type(message).__name__}")
    role, known, place, other = message.get(ROLE), _OPENAI, CONTENT, _VALUE
    if role is None and message.get(_FROM) is not None:
        role, known, place, other = message[_FROM], _SHAREGPT, _VALUE, CONTENT
    if not isinstance(role, str) or role not in known:
        names = ", ".join(name for name, meant in known.items() if meant in ROLES)
        raise BadRow(f"{where} has the role {role!r:.40}; known are {names}")
    if message.get(place) is None and message.get(other) is not None:
        place = other
    return _Turn(known[role], message.get(place), where, place)


def _plain(turns: list[_Turn]) -> list[dict[str, str]]:
    """The turns as messages. Raises BadRow for a turn that no prompt can hold, and for one without text."""
    found = []
    for turn in turns:
        if turn.role not in ROLES:
            raise BadRow(f"{turn.where} is a turn of {turn.role}; a prompt has turns of {', '.join(ROLES)} only")
        where = f"{turn.where}.{turn.place}"
        found.append({ROLE: turn.role, CONTENT: text(_joined(turn.content, where), where)})
    return found


def _joined(content: Any, where: str) -> Any:
    """A list of OpenAI's text parts as one text, a part a line as vLLM joins them; anything else as it is."""
    if not isinstance(content, list) or not content:
        return content
    found = []
    for i, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(part, dict) or kind != _TEXT:
            what = f"of type {kind!r:.40}" if isinstance(part, dict) else "no part of type and text"
            raise BadRow(f"{where}[{i}] is {what}; only parts of text can be taken")
        found.append(text(part.get(_TEXT), f"{where}[{i}].{_TEXT}", may_be_empty=True))
    return "\n".join(found)
