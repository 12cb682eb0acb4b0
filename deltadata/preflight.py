"""What the student's own tokenizer and window make of the pairs, before any step is paid for.

    deltadata check --tokenizer models/smollm2-135m-instruct runs/quickstart

TRL cuts, drops and shifts without a word; here every such pair is counted by its reason, with the first prompt_id, and
the training is refused beyond a stated share. Tokens are those that TRL trains on: the completion starts where the
tokens of the prompt and of the whole conversation part, and what stands beyond `max_length` is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from deltadata.errors import UserError, did_you_mean
from deltadata.tables import CHOSEN, CONTENT, PROMPT, PROMPT_ID, REJECTED, ROLE, SIDES

BATCH = 512  # pairs tokenised at once

FILLS, SAME, EMPTY, NO_END, SHIFTED, TWO_BOS = (
    *("prompt_fills_window", "identical_after_cut", "no_trainable_token"),
    *("no_end_token", "prompt_is_no_prefix", "two_bos"),
)
CUT = {CHOSEN: "chosen_cut", REJECTED: "rejected_cut"}
END_LOST = "end_token_lost"
REASONS = {
    FILLS: "the prompt alone fills the window: TRL drops the pair without a word",
    CUT[CHOSEN]: "the chosen answer is cut",
    CUT[REJECTED]: "the rejected answer is cut",
    SAME: "the answers are the same tokens once cut: no gradient",
    END_LOST: "a cut answer loses its end token: it teaches not to stop",
    NO_END: "the template ends an answer with no end token of the model",
    SHIFTED: "the prompt's tokens are no prefix of the conversation's: training and use differ",
    TWO_BOS: "the conversation starts with two BOS tokens",
    EMPTY: "an answer has no token to train on",
}
BAD = (FILLS, SAME, NO_END, SHIFTED, TWO_BOS, EMPTY)  # held to max_bad_share; cuts are held to max_cut_share


class Tokens(NamedTuple):
    """A pair as TRL trains it, before the cut; `shifted` when the prompt's end differs from the conversation's."""

    prompt: list[int]
    sides: dict[str, list[int]]
    shifted: bool


class Found(NamedTuple):
    """Counts over the pairs; `first` has a prompt_id for each reason that occurs."""

    pairs: int
    max_length: int
    counts: dict[str, int]
    first: dict[str, str]
    bad: int
    cut: int
    tokens: dict[str, int]  # prompt, chosen, rejected: after the cut; lost: by it
    delta: dict[str, float | None]  # mean of chosen - rejected tokens, before and after the cut


def tokenised(tokenizer: Any, rows: Sequence[dict[str, Any]], sides: Sequence[str] = SIDES) -> list[Tokens]:
    """The rows (prompt, chosen, rejected as messages) as TRL tokenises them, many at once.

    Raises UserError naming the first row that the template refuses.
    """
    from jinja2.exceptions import TemplateError

    try:
        prompts = _ids(tokenizer, [row[PROMPT] for row in rows], True)
        whole = {side: _ids(tokenizer, [row[PROMPT] + row[side] for row in rows], False) for side in sides}
    except (TemplateError, TypeError, KeyError) as problem:
        raise _refused(tokenizer, rows, sides, problem) from None
    found = []
    for i, prompt in enumerate(prompts):
        start = min(_common(prompt, whole[side][i]) for side in sides)
        found.append(Tokens(prompt[:start], {s: whole[s][i][start:] for s in sides}, start < len(prompt)))
    return found


def _ids(tokenizer: Any, conversations: list[Any], asks: bool) -> list[list[int]]:
    if not conversations:
        return []
    told = tokenizer.apply_chat_template(conversations, tokenize=True, return_dict=True, add_generation_prompt=asks)
    return list(told["input_ids"])


def _refused(tokenizer: Any, rows: Sequence[dict[str, Any]], sides: Sequence[str], problem: Exception) -> UserError:
    from jinja2.exceptions import TemplateError

    cure = "leave such prompts out (collect.rules), or give the student another chat_template.jinja"
    for row in rows:
        try:
            _ids(tokenizer, [row[PROMPT], *(row[PROMPT] + row[side] for side in sides)], False)
        except (TemplateError, TypeError, KeyError) as here:
            what = f"the student's chat template refuses the prompt {row.get(PROMPT_ID, '?')}: {here}"
            return UserError(what, where="preflight", cure=cure)
    return UserError(f"the student's chat template refuses a prompt: {problem}", where="preflight", cure=cure)


def _common(prompt: list[int], whole: list[int]) -> int:
    """How many leading tokens both have: nearly always the whole prompt."""
    if whole[: len(prompt)] == prompt:
        return len(prompt)
    return next(
        (i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), min(len(prompt), len(whole))
    )


def _reasons(found: Tokens, window: int, ends: set[int], bos: int | None) -> dict[str, bool]:
    """Which reasons hold for one pair."""
    room = window - len(found.prompt)
    kept = {side: ids[: max(room, 0)] for side, ids in found.sides.items()}
    fills = room <= 0
    start = (found.prompt + next(iter(kept.values())))[:2]
    cut = {side: not fills and len(ids) > room for side, ids in found.sides.items()}
    told = {CUT[side]: cut[side] for side in found.sides}
    return told | {
        FILLS: fills,
        SAME: not fills and len(kept) == 2 and len(set(map(tuple, kept.values()))) == 1,
        END_LOST: any(cut[s] and ends & set(ids) and not ends & set(kept[s]) for s, ids in found.sides.items()),
        NO_END: not all(ends & set(ids) for ids in found.sides.values() if ids),
        SHIFTED: found.shifted,
        TWO_BOS: bos is not None and start == [bos, bos],
        EMPTY: not all(found.sides.values()),
    }


def preflight(
    tokenizer: Any,
    groups: Iterable[pa.Table],
    max_length: int,
    ends: set[int],
    sides: Sequence[str] = SIDES,
    allow: Sequence[str] = (),
) -> Found:
    """Count what becomes of the pairs in `groups` (tables with the messages and, where known, prompt_id).

    `ends` are the ids that end an answer. Reasons in `allow` are counted but make no pair bad or cut. Raises UserError
    when the template refuses a prompt, or `allow` names no reason.
    """
    for reason in allow:
        if reason not in REASONS:
            raise UserError(f"nothing is called {reason!r}", where="train.allow", cure=did_you_mean(reason, REASONS))
    counts = dict.fromkeys((reason for reason in REASONS if _side(reason) in (None, *sides)), 0)
    first: dict[str, str] = {}
    tokens = dict.fromkeys((PROMPT, *sides, "lost"), 0)
    before = after = pairs = bad = cut = 0
    for rows in batches(groups):
        for row, found in zip(rows, tokenised(tokenizer, rows, sides), strict=True):
            holds = _reasons(found, max_length, ends, tokenizer.bos_token_id)
            for reason in (reason for reason, here in holds.items() if here):
                counts[reason] += 1
                first.setdefault(reason, str(row.get(PROMPT_ID) or f"row {pairs + 1}"))
            bad += any(holds[reason] for reason in BAD if reason not in allow)
            cut += any(holds.get(reason, False) for reason in CUT.values() if reason not in allow)
            pairs += 1
            room = max(max_length - len(found.prompt), 0)
            whole = {side: len(ids) for side, ids in found.sides.items()}
            kept = {side: min(length, room) for side, length in whole.items()}
            if room:
                tokens[PROMPT] += len(found.prompt)
            for side in sides:
                tokens[side] += kept[side]
                tokens["lost"] += whole[side] - kept[side]
            if len(sides) == 2:
                before += whole[CHOSEN] - whole[REJECTED]
                after += kept[CHOSEN] - kept[REJECTED]
    known = pairs > 0 and len(sides) == 2
    delta = {"before": before / pairs if known else None, "after": after / pairs if known else None}
    return Found(pairs, max_length, counts, first, bad, cut, tokens, delta)


def _side(reason: str) -> str | None:
    """The side that a reason is about, where it is about one."""
    return next((side for side, name in CUT.items() if name == reason), None)


def batches(groups: Iterable[pa.Table]) -> Iterator[list[dict[str, Any]]]:
    """Rows in order, their messages roles and contents alone: of other fields a struct holds nulls mostly."""
    for group in groups:
        for batch in group.to_batches(max_chunksize=BATCH):
            rows = batch.to_pylist()
            for row in rows:
                for column in (PROMPT, *SIDES):
                    row[column] = [{ROLE: m[ROLE], CONTENT: m[CONTENT]} for m in row[column]]
            yield rows


def table(found: Found) -> list[dict[str, str]]:
    """A row per reason that occurs, and the sums."""
    share = 100 / max(found.pairs, 1)
    rows = [
        {
            "found": reason,
            "pairs": f"{count} ({share * count:.3g} %)",
            "first": found.first[reason],
            "means": REASONS[reason],
        }
        for reason, count in found.counts.items()
        if count
    ]
    return rows or [{"found": "nothing", "pairs": "0", "first": "-", "means": "every pair fits as it is"}]


def summary(found: Found) -> str:
    """One sentence: pairs, trainable tokens, what the cut takes of them and of the length's delta."""
    trained = sum(found.tokens[side] for side in SIDES if side in found.tokens)
    told = f"{found.pairs} pairs, {trained:,} tokens to train on and {found.tokens[PROMPT]:,} of prompts"
    told += f" at max_length {found.max_length}; the cut takes {found.tokens['lost']:,}"
    if found.delta["before"] is None or found.delta["after"] is None:
        return told
    return f"{told}; mean delta of tokens {found.delta['before']:+.4g}, after the cut {found.delta['after']:+.4g}"


def refuse(found: Found, max_bad: float, max_cut: float, allow: Sequence[str] = ()) -> None:
    """Raises UserError when more pairs are bad, or cut, than the shares allow."""
    if found.bad > max_bad * found.pairs:
        worst = max((reason for reason in BAD if reason not in allow), key=lambda reason: found.counts[reason])
        raise UserError(
            f"{found.bad} of {found.pairs} pairs are unfit for this student, most of them by {worst} "
            f"({REASONS[worst]}); first {found.first[worst]}",
            where="preflight",
            cure=f"raise train.args.max_length, mend the template, or set train.max_bad_share (now {max_bad:g}) or "
            f"train.allow=[{worst}]",
        )
    if found.cut > max_cut * found.pairs:
        raise UserError(
            f"{found.cut} of {found.pairs} pairs have an answer that is cut at {found.max_length} tokens",
            where="preflight",
            cure=f"raise train.args.max_length, drop them by a rule, or set train.max_cut_share (now {max_cut:g})",
        )
