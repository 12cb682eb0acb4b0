"""Scores by checks that a prompt carries, without a model: the share of its constraints that a response meets.

    score: [{name: checks}]

What a prompt carries is read from the columns that its pool keeps:

    constraints    a list of {kind: …} in `column` (constraints.py has the kinds)
    final_answer   a reference in `column`: a number, a text, GSM8K's `#### 42` or \\boxed{…}
    choice         the right option in `column`: its letter, or its index from 0 as MMLU has it
    ifeval         `instruction_id_list` and `kwargs`, the columns of google/IFEval
    auto           constraints where `column` is a list, else ifeval where its columns are, else final_answer; a text
                   that is the name of a constraint is refused, since it may be either

An empty response meets nothing. A prompt without these columns, or with null in them, has no score.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Iterable, Iterator, Literal, get_args

from deltadata.errors import UserError, did_you_mean
from deltadata.scorers import Asked, BadCheck, answers, constraints, ifeval
from deltadata.scorers.constraints import Test

Form = Literal["auto", "constraints", "final_answer", "choice", "ifeval"]
IDS, KWARGS = "instruction_id_list", "kwargs"
REMEMBERED = 4096  # prompts; responses to one prompt come near each other


class Checks:
    """The scorer `checks`. Raises UserError for an unknown form."""

    reads_meta = True

    def __init__(self, form: str = "auto", column: str = "check") -> None:
        if form not in get_args(Form):
            raise UserError(f"no form is called {form!r}", where="score", cure=did_you_mean(form, get_args(Form)))
        self.column = column
        self.form: str = form
        self.notes: dict[str, int] = {}
        self.engine_facts: dict[str, Any] = {}
        self.facts: dict[str, Any] = {"scorer": "checks", "form": form, "column": column, "py3langid": _installed()}

    def refuse(self, asked: Asked) -> None:
        """Nothing where the prompt's check can be used. Raises BadCheck, UserError when a package is missing."""
        self._tests(asked.meta)

    def score(self, prompts: Iterable[Asked], responses: Iterable[str]) -> Iterator[float | None]:
        """The share of tests that each response passes, 0 to 1; None where its prompt has none."""
        for asked, response in zip(prompts, responses, strict=True):
            tests = self._tests(asked.meta)
            yield share_met(tests, response) if tests else None

    def _tests(self, meta: dict[str, Any]) -> tuple[Test, ...]:
        """Looked up by the text of what the prompt carries, so that a pattern is compiled once, not per response."""
        form = found_form(meta, self.column) if self.form == "auto" else self.form
        carried = [meta.get(IDS), meta.get(KWARGS)] if form == "ifeval" else meta.get(self.column)
        if self.form == "auto" and isinstance(carried, str) and carried in constraints.KINDS:
            lone = f"{self.column!r} is the name of a constraint alone, {carried!r}"
            raise BadCheck(f"{lone}; write [{{kind: {carried}}}], or say `form: final_answer` where it is the answer")
        return _read(form, self.column, json.dumps(carried))


def share_met(tests: tuple[Test, ...], response: str) -> float:
    """The share of tests that the response passes; white space around it does not count."""
    text = response.strip()
    return sum(test(text) for test in tests) / len(tests) if text else 0.0


def found_form(meta: dict[str, Any], column: str) -> str:
    """What form the check of a prompt has, by the columns it carries."""
    if isinstance(meta.get(column), list):
        return "constraints"
    return "ifeval" if meta.get(IDS) else "final_answer"


@lru_cache(maxsize=REMEMBERED)
def _read(form: str, column: str, packed: str) -> tuple[Test, ...]:
    """The tests that a prompt carries, none where it has no check. Raises BadCheck."""
    carried = json.loads(packed)
    if form == "ifeval":
        return _instructions(*carried)
    if carried is None or carried in ("", []):
        return ()
    match form:
        case "constraints":
            return _constraints(carried, column)
        case "choice":
            return (_choice(carried, column),)
        case _:
            return (_final_answer(carried, column),)


def _constraints(given: Any, column: str) -> tuple[Test, ...]:
    if not isinstance(given, list):
        raise BadCheck(f"{column!r} is no list of constraints but {_kind(given)}")
    return tuple(constraints.read(one) for one in given)


def _final_answer(given: Any, column: str) -> Test:
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        listed = "; constraints stand in a list: [{kind: …}]" if isinstance(given, dict) else ""
        raise BadCheck(f"{column!r} is no reference (a number or a text) but {_kind(given)}{listed}")
    wanted = str(given)
    if not answers.reference(wanted):
        raise BadCheck(f"{column!r} holds no answer behind its #### or in its \\boxed{{}}")
    return lambda text: answers.same_answer(wanted, text)


def _choice(given: Any, column: str) -> Test:
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 26:
        given = chr(ord("A") + given)
    wanted = given.strip().strip("().").upper() if isinstance(given, str) else ""
    if len(wanted) != 1 or not wanted.isascii() or not wanted.isalnum():
        raise BadCheck(f"{column!r} is no option (a letter, or an index from 0 to 25) but {constraints.short(given)}")
    return lambda text: answers.letter(text) == wanted


def _instructions(ids: Any, kwargs: Any) -> tuple[Test, ...]:
    if not ids:
        return ()
    if not isinstance(ids, list):
        raise BadCheck(f"{IDS!r} is no list but {_kind(ids)}")
    given = [{}] * len(ids) if kwargs is None else kwargs
    if not isinstance(given, list) or len(given) != len(ids):
        raise BadCheck(f"{KWARGS!r} is no list with one entry for each of the {len(ids)} in {IDS!r}")
    for entry in given:
        if not isinstance(entry, dict | None):
            raise BadCheck(f"{KWARGS!r} holds {_kind(entry)} where an instruction's arguments should be")
    return tuple(ifeval.instruction(str(one), entry or {}) for one, entry in zip(ids, given, strict=True))


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "yes or no", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _installed() -> str | None:
    try:
        return version("py3langid")
    except PackageNotFoundError:
        return None
