"""Conversations into token ids, the same way for every engine that tokenises here.

    python -m pytest tests/test_engines.py -k chat

Three things are kept: exactly one BOS; the model's own template, with the rung's keyword arguments; and the text of a
prompt stays text, so that a prompt that spells out `<|im_end|>` cannot end its own turn.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Iterator

from deltadata.engines import Conversation
from deltadata.errors import UserError

OURS = ("conversation", "tokenize", "add_generation_prompt", "continue_final_message", "return_dict", "return_tensors")


class ChatError(Exception):
    """One conversation that the model's template cannot take; its text is the reason that the row keeps."""


def check_template(tokenizer: Any, model: str) -> str:
    """Eight hex digits that name the chat template. Raises UserError when the model has none: nothing can be asked."""
    if not tokenizer.chat_template:
        raise UserError(
            "this model has no chat template, so prompts cannot be put to it",
            where=model,
            cure="write one as chat_template.jinja into the model's directory (a Hub model: download it first)",
        )
    return hashlib.sha256(tokenizer.get_chat_template().encode()).hexdigest()[:8]


def encode(tokenizer: Any, conversation: Conversation) -> list[int]:
    """The token ids of the conversation and of the header of the answer to come.

    Raises ChatError when the conversation is empty or the template refuses it, UserError for a template keyword that is
    not the template's.
    """
    for keyword in OURS:
        if keyword in conversation.template:
            raise UserError("not a setting of the template", where=f"chat_template_kwargs.{keyword}", cure="remove it")
    if not conversation.messages:
        raise ChatError("the conversation is empty")
    if not all(message["content"].strip() for message in conversation.messages):
        raise ChatError("a message of the conversation is empty")
    return written(tokenizer, conversation.messages, conversation.template)


def written(
    tokenizer: Any, messages: list[dict[str, str]], template: dict[str, Any] = {}, asks: bool = True
) -> list[int]:
    """The token ids of `messages` in the model's template; with `asks` the header of an answer follows them.

    Raises ChatError when the template refuses them.
    """
    from jinja2.exceptions import TemplateError

    messages, cut = _uncontrolled(tokenizer, messages)
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asks, **template)
    except TemplateError as refusal:
        raise ChatError(f"the chat template refused it: {refusal}") from refusal
    ids: list[int] = []
    for piece in text.split(cut) if cut else [text]:
        ids += tokenizer.encode(piece, add_special_tokens=False)
    return _one_bos(tokenizer, ids)


def _uncontrolled(tokenizer: Any, messages: list[dict[str, str]]) -> tuple[list[dict[str, str]], str | None]:
    """`messages` with a cut mark inside every control token that their text spells, and that mark (None: no cuts).

    Encoding `<` and `|im_end|>` apart gives ordinary tokens that decode to the same text. Only tokens that the
    tokenizer flags as special count: `<think>` and its like are text to the templates themselves.
    """
    control = [token for token in _special(tokenizer) if len(token) > 1]
    whole = "\0".join(message["content"] for message in messages)
    if not any(token in whole for token in control):
        return messages, None
    cut = next(mark for mark in _private_use() if mark not in whole)
    # The look-ahead finds occurrences that overlap as well.
    begins = re.compile(f"(?s)(?=(?:{'|'.join(map(re.escape, control))}))(.)")
    return [{**message, "content": begins.sub(rf"\1{cut}", message["content"])} for message in messages], cut


def _special(tokenizer: Any) -> set[str]:
    flagged = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return flagged | set(tokenizer.all_special_tokens)


def _private_use() -> Iterator[str]:
    return map(chr, range(0xE000, 0xF900))


def _one_bos(tokenizer: Any, ids: list[int]) -> list[int]:
    """A template that wrote the BOS keeps it, one that left it to the tokenizer gets it, a second one goes."""
    bos = tokenizer.bos_token_id
    if bos is None:
        return ids
    while ids[:2] == [bos, bos]:
        ids = ids[1:]
    adds_it = tokenizer.encode("a")[:1] == [bos]
    return [bos, *ids] if adds_it and ids[:1] != [bos] else ids
