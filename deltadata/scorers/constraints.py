"""The kinds of constraint a prompt can carry, each a function here that returns the test of a response.

    {"kind": "count", "of": "words", "relation": "at_most", "n": 50}

To add a kind, write the function and name it in KINDS; its parameters are what the constraint may give, its
annotations what they must be. Tests see the response without white space around it, and never an empty one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from json import loads
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, validate_call

from deltadata.errors import did_you_mean, need
from deltadata.scorers import BadCheck, answers, counting

Test = Callable[[str], bool]
Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[list[Text], Field(min_length=1)]
Whole = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]

every, some = all, any  # two parameters below have these names
_FENCE = re.compile(r"\A```\w*[ \t]*\n(.*)\n[ \t]*```\Z", re.DOTALL)


def number(value: float, tolerance: Annotated[float, Field(ge=0)] = 1e-6) -> Test:
    """The number that the response ends on is within the tolerance of the value."""

    def test(text: str) -> bool:
        found = answers.final_number(text)
        return found is not None and abs(found - wanted) <= slack

    wanted, slack = Fraction(str(value)), Fraction(str(tolerance))  # of the decimal as written, not of its float
    return test


def exact(any_of: Texts) -> Test:
    """The response is one of the texts and nothing else, but for case, quotes, emphasis and a last full stop."""
    wanted = {answers.normal(one) for one in any_of}
    return lambda text: answers.normal(text) in wanted


def choice(letter: Annotated[str, Field(pattern=r"^[A-Z0-9]$")]) -> Test:
    """The response chooses this option and no other."""
    return lambda text: answers.letter(text) == letter


def regex(pattern: Text) -> Test:
    """The pattern is found somewhere; ^ and $ match at every line."""
    try:
        found = re.compile(pattern, re.MULTILINE).search
    except (re.error, OverflowError, RecursionError) as problem:
        raise BadCheck(f"regex: {pattern!r} is no regular expression: {problem}") from None
    return lambda text: found(text) is not None


def json(
    keys: Texts | None = None, type: Literal["object", "array"] | None = None, length: Whole | None = None
) -> Test:
    """The whole response is one JSON value, in a code fence or bare, with the keys and of the type and length."""

    def test(text: str) -> bool:
        fenced = _FENCE.match(text)
        try:
            value = loads(fenced[1] if fenced else text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return False
        return (
            isinstance(value, wanted)
            and (keys is None or (isinstance(value, dict) and all(key in value for key in keys)))
            and (length is None or (isinstance(value, dict | list) and len(value) == length))
        )

    wanted = {None: object, "object": dict, "array": list}[type]
    return test


def count(of: counting.Counted, relation: counting.Relation, n: Whole) -> Test:
    """The response has at least, at most or exactly n of these."""
    counted = counting.COUNTS[of]
    return lambda text: counting.related(counted(text), relation, n)


def include(all: Texts | None = None, any: Texts | None = None) -> Test:
    """All of the texts occur, or any of them; case does not matter."""
    if (all is None) == (any is None):
        raise BadCheck("include: takes `all` or `any`, one of the two")

    def test(text: str) -> bool:
        low = text.casefold()
        return enough(one in low for one in wanted)

    wanted, enough = [one.casefold() for one in all or any or []], every if all else some
    return test


def exclude(any: Texts) -> Test:
    """None of the texts occurs as whole words; case does not matter."""
    words = "|".join(re.escape(one) for one in any)
    found = re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE).search
    return lambda text: found(text) is None


def starts_with(text: Text) -> Test:
    """The response starts with exactly this text."""
    return lambda response: response.startswith(text)


def ends_with(text: Text) -> Test:
    """The response ends with exactly this text."""
    return lambda response: response.endswith(text)


def case(of: Literal["lower", "upper"]) -> Test:
    """Every letter that has a case is in this one, and there is one at least."""
    return str.islower if of == "lower" else str.isupper


def language(code: str) -> Test:
    """The response is in the language of this ISO 639-1 code."""
    detector = _detector()
    if code not in detector.labels:
        raise BadCheck(f"language: {code!r} is no ISO 639-1 code that can be detected")
    return lambda text: any(map(str.isalpha, text)) and detector.classify(_common_case(text))[0] == code


def repetition(at_most: Share) -> Test:
    """The share of sentences that occurred before, word for word, is at most this; list items count as sentences."""

    def test(text: str) -> bool:
        said = [" ".join(sentence.casefold().split()) for sentence in counting.split_sentences(text)]
        return not said or 1 - len(set(said)) / len(said) <= at_most

    return test


def ifeval(id: str, kwargs: dict[str, Any] | None = None) -> Test:
    """An instruction of IFEval by its id (`punctuation:no_comma`), with its arguments; null ones are left out."""
    from deltadata.scorers.ifeval import instruction

    return instruction(id, kwargs or {})


KINDS: dict[str, Callable[..., Test]] = {
    kind.__name__: kind
    for kind in (
        *(number, exact, choice, regex, json, count, include, exclude),
        *(starts_with, ends_with, case, language, repetition, ifeval),
    )
}


def read(given: Any) -> Test:
    """The test of a constraint {kind, parameters…}. Raises BadCheck, UserError when a package is missing."""
    if not isinstance(given, dict):
        raise BadCheck(f"{short(given)} is no constraint; write {{kind: …}}")
    kind = given.get("kind")
    if kind is None:
        raise BadCheck(f"{short(given)} has no kind; {did_you_mean('', KINDS)}")
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadCheck(f"no constraint is called {short(kind)}; {did_you_mean(str(kind), KINDS)}")
    arguments = {name: value for name, value in given.items() if name != "kind" and value is not None}
    return called(KINDS[kind], kind, arguments, strict=True)


def called(function: Callable[..., Test], name: str, arguments: dict[str, Any], *, strict: bool) -> Test:
    """The function with its arguments held against its signature. Raises BadCheck with the first that is wrong."""
    try:
        return _validated(function, strict)(**arguments)
    except ValidationError as problem:
        raise BadCheck(f"{name}: {_said(problem, function)}") from None


@cache
def _validated(function: Callable[..., Test], strict: bool) -> Callable[..., Test]:
    return validate_call(config=ConfigDict(strict=strict))(function)


def _said(problem: ValidationError, function: Callable[..., Test]) -> str:
    # A misspelt name is missing as well; the spelling is the mistake.
    first = min(problem.errors(), key=lambda error: error["type"] != "unexpected_keyword_argument")
    name = ".".join(map(str, first["loc"]))
    match first["type"]:
        case "unexpected_keyword_argument":
            takes = [one for one in function.__annotations__ if one != "return"]
            return f"takes no {name!r}; {did_you_mean(name, takes)}" if takes else f"takes nothing, not {name!r}"
        case "missing_argument" | "missing_keyword_only_argument":
            return f"needs {name!r}"
        case _:
            return f"{first['msg'].replace('Input', name, 1)}, not {short(first['input'])}"


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


@cache
def _detector() -> Any:
    langid = need("py3langid.langid", "checks")
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE)


def _common_case(text: str) -> str:
    """Text that is mostly capitals in small letters: the detector has learnt from common writing."""
    return text.lower() if sum(map(str.isupper, text)) > sum(map(str.islower, text)) else text
