"""The 25 instructions of IFEval (Zhou et al. 2023, arXiv 2311.07911, table 1) by the ids of google/IFEval.

Written from the paper, in its strict sense: the response counts as it stands. The sentences, bullets and capitals that
are counted are this package's own, and languages are detected by another library than the paper's, so that numbers
are near those of the paper's program, not the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from deltadata.errors import did_you_mean
from deltadata.scorers import BadCheck, constraints, counting
from deltadata.scorers.constraints import Test, Text, Texts, Whole

Relation = Literal["less than", "at least"]
Ordinal = Annotated[int, Field(ge=1)]

CONSTRAINED = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_HIGHLIGHT = re.compile(r"(?<!\*)\*(?![\s*])[^*\n]+\*(?!\*)|\*\*(?=\S)[^*\n]+\*\*")
_PLACEHOLDER = re.compile(r"\[[^\[\]\n]+\]")
_TITLE = re.compile(r"<<[ \t]*[^\s<>][^<>\n]*>>")
_STARS = re.compile(r"^[ \t]*\*\*\*[ \t]*$", re.MULTILINE)
_WORD = re.compile(r"\w+")


def existence(keywords: Texts) -> Test:
    """All keywords occur."""
    return constraints.include(all=keywords)


def frequency(keyword: Text, frequency: Whole, relation: Relation) -> Test:
    """The keyword occurs this often."""
    wanted = keyword.strip().casefold()
    return lambda text: _related(text.casefold().count(wanted), relation, frequency)


def forbidden_words(forbidden_words: Texts) -> Test:
    """None of the words occurs."""
    return constraints.exclude(any=forbidden_words)


def letter_frequency(letter: Text, let_frequency: Whole, let_relation: Relation) -> Test:
    """The letter occurs this often, in either case."""
    wanted = letter.strip().casefold()
    return lambda text: _related(text.casefold().count(wanted), let_relation, let_frequency)


def response_language(language: Text) -> Test:
    """The whole response is in the language."""
    return constraints.language(language)


def number_sentences(num_sentences: Whole, relation: Relation) -> Test:
    """So many sentences."""
    return lambda text: _related(counting.sentences(text), relation, num_sentences)


def number_paragraphs(num_paragraphs: Whole) -> Test:
    """Exactly so many paragraphs, with a line of three asterisks between them; none is empty."""

    def test(text: str) -> bool:
        blocks = [block.strip() for block in _STARS.split(text)]
        return len(blocks) == num_paragraphs and all(blocks)

    return test


def number_words(num_words: Whole, relation: Relation) -> Test:
    """So many runs of letters and digits."""
    return lambda text: _related(len(_WORD.findall(text)), relation, num_words)


def nth_paragraph_first_word(num_paragraphs: Whole, nth_paragraph: Ordinal, first_word: Text) -> Test:
    """Exactly so many paragraphs, with blank lines between them, and the nth starts with the word."""

    def test(text: str) -> bool:
        blocks = counting.split_paragraphs(text)
        if len(blocks) != num_paragraphs or nth_paragraph > len(blocks):
            return False
        start = blocks[nth_paragraph - 1].lstrip("\"'“‘*_#( ")
        return re.match(rf"{re.escape(first_word.strip())}(?!\w)", start, re.IGNORECASE) is not None

    return test


def number_placeholders(num_placeholders: Whole) -> Test:
    """At least so many placeholders in square brackets."""
    return lambda text: len(_PLACEHOLDER.findall(text)) >= num_placeholders


def postscript(postscript_marker: Text) -> Test:
    """A postscript that starts with the marker (P.S. or P.P.S), spaces between its letters allowed."""
    letters = r"\s?".join(re.escape(letter) for letter in re.sub(r"\s", "", postscript_marker))
    found = re.compile(rf"(?<![\w.]){letters}(?!\w)", re.IGNORECASE).search
    return lambda text: found(text) is not None


def number_bullet_lists(num_bullets: Whole) -> Test:
    """Exactly so many bullet points."""
    return lambda text: counting.bullets(text) == num_bullets


def constrained_response() -> Test:
    """One of the paper's three answers occurs."""
    return lambda text: any(answer in text for answer in CONSTRAINED)


def number_highlighted_sections(num_highlights: Whole) -> Test:
    """At least so many spans in single or double asterisks."""
    return lambda text: len(_HIGHLIGHT.findall(text)) >= num_highlights


def multiple_sections(section_spliter: Text, num_sections: Whole) -> Test:
    """At least so many sections, each marked by the word and a number (`Section 1`); the paper spells it so."""
    marks = re.compile(rf"(?<!\w){re.escape(section_spliter.strip())}\s?\d+")
    return lambda text: len(marks.findall(text)) >= num_sections


def json_format() -> Test:
    """The whole response is JSON."""
    return constraints.json()


def title() -> Test:
    """A title in double angular brackets."""
    return lambda text: _TITLE.search(text) is not None


def two_responses() -> Test:
    """Two different responses with six asterisks between them."""

    def test(text: str) -> bool:
        both = [one.strip() for one in text.split("*" * 6)]
        return len(both) == 2 and all(both) and both[0] != both[1]

    return test


def repeat_prompt(prompt_to_repeat: Text) -> Test:
    """The response starts with the request, word for word."""
    start = prompt_to_repeat.strip().casefold()
    return lambda text: text.casefold().startswith(start)


def end_checker(end_phrase: Text) -> Test:
    """The response ends with the phrase; quotes around it do not matter."""
    end = end_phrase.strip().casefold()
    return lambda text: text.strip("\"'“”‘’ \n").casefold().endswith(end) or text.casefold().endswith(end)


def capital_word_frequency(capital_frequency: Whole, capital_relation: Relation) -> Test:
    """So many words in capital letters."""
    return lambda text: _related(
        sum(word.isupper() for word in _WORD.findall(text)), capital_relation, capital_frequency
    )


def english_capital() -> Test:
    """English, in capital letters only."""
    upper, english = constraints.case("upper"), constraints.language("en")
    return lambda text: upper(text) and english(text)


def english_lowercase() -> Test:
    """English, in small letters only."""
    lower, english = constraints.case("lower"), constraints.language("en")
    return lambda text: lower(text) and english(text)


def no_comma() -> Test:
    """No comma."""
    return lambda text: "," not in text


def quotation() -> Test:
    """The whole response stands in double quotation marks."""
    return lambda text: len(text) > 2 and text[0] in '"“' and text[-1] in '"”'


_GROUPS: dict[str, tuple[Callable[..., Test], ...]] = {
    "keywords": (existence, frequency, forbidden_words, letter_frequency),
    "language": (response_language,),
    "length_constraints": (number_sentences, number_paragraphs, number_words, nth_paragraph_first_word),
    "detectable_content": (number_placeholders, postscript),
    "detectable_format": (
        *(number_bullet_lists, constrained_response, number_highlighted_sections),
        *(multiple_sections, json_format, title),
    ),
    "combination": (two_responses, repeat_prompt),
    "startend": (end_checker, quotation),
    "change_case": (capital_word_frequency, english_capital, english_lowercase),
    "punctuation": (no_comma,),
}
INSTRUCTIONS = {f"{group}:{one.__name__}": one for group, members in _GROUPS.items() for one in members}


def instruction(id: str, kwargs: dict[str, Any]) -> Test:
    """The test of one instruction; arguments that are null count as not given.

    Raises BadCheck for an unknown id or argument, UserError when a language is asked for without its package.
    """
    if id not in INSTRUCTIONS:
        raise BadCheck(f"IFEval has no instruction {id!r}; {did_you_mean(id, INSTRUCTIONS)}")
    given = {name: value for name, value in kwargs.items() if value is not None}
    return constraints.called(INSTRUCTIONS[id], id, given, strict=False)  # 3.0 is 3 where a table went through floats


def _related(count: int, relation: Relation, n: int) -> bool:
    return count >= n if relation == "at least" else count < n
