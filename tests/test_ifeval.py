"""Each of IFEval's 25 instructions has an answer that follows it and one that does not.

pytest tests/test_ifeval.py
"""

from __future__ import annotations

from typing import Any

import pytest

from deltadata.scorers import Asked, BadCheck
from deltadata.scorers.checks import Checks
from deltadata.scorers.ifeval import INSTRUCTIONS, instruction

# id, arguments, an answer that follows it, one that just does not
CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("keywords:existence", {"keywords": ["tea", "milk"]}, "Tea with Milk.", "Tea with sugar."),
    (
        "keywords:frequency",
        {"keyword": "tea", "frequency": 2, "relation": "at least"},
        "Tea, tea.",
        "Tea, then coffee.",
    ),
    ("keywords:frequency", {"keyword": "tea", "frequency": 2, "relation": "less than"}, "Tea.", "Tea, tea."),
    ("keywords:forbidden_words", {"forbidden_words": ["tea", "milk"]}, "A team drinks.", "A cup of Milk."),
    ("keywords:letter_frequency", {"letter": "a", "let_frequency": 3, "let_relation": "at least"}, "Aha, a.", "Aha."),
    ("keywords:letter_frequency", {"letter": "!", "let_frequency": 2, "let_relation": "less than"}, "Hey!", "Hey!!"),
    (
        "language:response_language",
        {"language": "de"},
        "Der Hund schläft vor der Tür und wartet auf seinen Herrn.",
        "The dog sleeps at the door and waits for its master.",
    ),
    (
        "language:response_language",
        {"language": "kn"},
        "ನಾನು ನಾಳೆ ಮಾರುಕಟ್ಟೆಗೆ ಹೋಗುತ್ತೇನೆ.",
        "I shall go to the market tomorrow.",
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 3, "relation": "at least"},
        "Dr. Lee left at 3.30 p.m. today. Why? Nobody knows.",
        "Dr. Lee left at 3.30 p.m. today. Nobody knows.",
    ),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "less than"}, "Hi there.", "Hi. Bye."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One.\n\n***\n\nTwo.", "One.\n\nTwo."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One.\n***\nTwo.", "***\nOne."),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "one two three", "one two"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, "one - two", "one, two, three"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
        "First rain.\n\nThen, sun.",
        "Then rain.\n\nFirst sun.",
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
        "Rain.\n\n\n**Then** sun.",
        "Rain.\n\nThen sun.\n\nAnd snow.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name], [city]", "[name], (city)"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\n\nP.S. Write soon.", "Bye.\n\nWrite soon."),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Bye.\n\nP.P.S. Call.", "Bye.\n\nP.S. Call."),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\n\np. s. Call.", "Bye.\n\nP.P.S. Call."),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* tea\n- milk", "* tea\n* milk\n* salt"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "**Tea**\n* milk", "* tea\n* milk"),
    ("detectable_format:constrained_response", {}, "My answer is maybe.", "My answer is never."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*one* and **two**", "*one* and two"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "a *b* c", "2 * 3 * 4"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        "Section 1\nTea.\nSection 2\nMilk.",
        "Section 1\nTea.\nSection two\nMilk.",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": [1]}\n```', '{"a": [1]'),
    ("detectable_format:title", {}, "<<On tea>>\nTea is hot.", "<< >>\nTea is hot."),
    ("combination:two_responses", {}, "Tea.\n******\nMilk.", "Tea.\n******\nTea."),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Name a drink."}, "Name a drink.\nTea.", "Tea. Name a drink."),
    (
        "startend:end_checker",
        {"end_phrase": "Any other questions?"},
        "Tea. any other questions?",
        "Any other questions? No.",
    ),
    ("startend:end_checker", {"end_phrase": "That is all."}, '"Tea. That is all."', '"Tea. That is all, sir."'),
    ("startend:quotation", {}, '"Tea is hot."', '"Tea" is hot.'),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        "NASA and ESA flew.",
        "NASA and Esa flew.",
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "less than"},
        "NASA flew.",
        "NASA and ESA flew.",
    ),
    (
        "change_case:english_capital",
        {},
        "THE DOG SLEEPS AT THE DOOR AND WAITS FOR 2 FRIENDS.",
        "THE DOG SLEEPS AT THE DOOR AND WAITS FOR 2 friends.",
    ),
    (
        "change_case:english_capital",
        {},
        "PLEASE CLOSE THE DOOR BEHIND YOU.",
        "BITTE SCHLIESSEN SIE DIE TÜR HINTER SICH.",
    ),
    (
        "change_case:english_lowercase",
        {},
        "the dog sleeps at the door and waits for 2 friends.",
        "The dog sleeps at the door and waits for 2 friends.",
    ),
    (
        "change_case:english_lowercase",
        {},
        "please close the door behind you.",
        "bitte schließen sie die tür hinter sich.",
    ),
    ("punctuation:no_comma", {}, "Tea; milk.", "Tea, milk."),
]


def test_all_25_instructions_of_the_paper_are_tried() -> None:
    """The paper's table 1 has 25, and every one stands in the cases below."""
    assert len(INSTRUCTIONS) == 25
    assert {case[0] for case in CASES} == set(INSTRUCTIONS)


@pytest.mark.parametrize(
    ("id", "kwargs", "follows", "fails"), CASES, ids=[f"{case[0]}-{case[2][:9]}" for case in CASES]
)
def test_an_instruction_tells_the_two_answers_apart(id: str, kwargs: dict[str, Any], follows: str, fails: str) -> None:
    """Strictly, as the response stands."""
    test = instruction(id, kwargs)
    assert test(follows)
    assert not test(fails)


def test_a_paragraph_beyond_the_last_is_not_there() -> None:
    """An instruction that asks for it is not followed, whatever the response."""
    kwargs = {"num_paragraphs": 1, "nth_paragraph": 2, "first_word": "tea"}
    assert not instruction("length_constraints:nth_paragraph_first_word", kwargs)("Tea.")


def row(*instructions: tuple[str, Any]) -> Asked:
    """A prompt with the columns of google/IFEval."""
    ids, kwargs = zip(*instructions, strict=True)
    return Asked([{"role": "user", "content": "?"}], {"instruction_id_list": list(ids), "kwargs": list(kwargs)})


@pytest.mark.parametrize("form", ["auto", "ifeval"])
def test_the_score_is_the_share_of_instructions_followed(form: str) -> None:
    """Two of four are 0.5; a table's null and 3.0 are taken as what they were; an empty answer follows none."""
    commas = ("punctuation:no_comma", {"num_words": None, "keywords": None})
    three = ("length_constraints:number_words", {"num_words": 3.0, "relation": "at least"})
    asked = row(commas, three, ("detectable_format:title", None), ("startend:quotation", {}))
    responses = ["one two three", "<<one two three>>", '"<<one>> two three"', "one, two", " \n"]
    assert list(Checks(form=form).score([asked] * 5, responses)) == [0.5, 0.75, 1.0, 0.0, 0.0]


def test_an_instruction_is_a_constraint_too() -> None:
    """A check can hold an IFEval id among its own constraints."""
    check = [{"kind": "ifeval", "id": "punctuation:no_comma"}, {"kind": "starts_with", "text": "Tea"}]
    assert list(Checks().score([Asked([], {"check": check})], ["Tea, milk"])) == [0.5]


BAD = [
    (
        row(("punctuation:no_coma", {})),
        "IFEval has no instruction 'punctuation:no_coma'; did you mean 'punctuation:no_comma'?",
    ),
    (row(("detectable_format:title", {"n": 1})), "detectable_format:title: takes nothing, not 'n'"),
    (
        row(("detectable_format:number_bullet_lists", {"num_bulets": 1})),
        "detectable_format:number_bullet_lists: takes no 'num_bulets'; did you mean 'num_bullets'?",
    ),
    (
        row(("length_constraints:number_words", {"num_words": 3})),
        "length_constraints:number_words: needs 'relation'",
    ),
    (
        row(("length_constraints:number_words", {"num_words": 3, "relation": "at most"})),
        "length_constraints:number_words: relation should be 'less than' or 'at least', not 'at most'",
    ),
    (row(("language:response_language", {"language": "English"})), "language: 'English' is no ISO 639-1 code that"),
    (Asked([], {"instruction_id_list": "punctuation:no_comma"}), "'instruction_id_list' is no list but a text"),
    (
        Asked([], {"instruction_id_list": ["a", "b"], "kwargs": [{}]}),
        "'kwargs' is no list with one entry for each of the 2",
    ),
    (
        Asked([], {"instruction_id_list": ["a"], "kwargs": ["b"]}),
        "'kwargs' holds a text where an instruction's arguments",
    ),
]


@pytest.mark.parametrize(("asked", "said"), BAD, ids=[said[:40] for _, said in BAD])
def test_a_mistaken_instruction_is_refused_before_any_response(asked: Asked, said: str) -> None:
    """With a sentence that says what to mend."""
    with pytest.raises(BadCheck) as met:
        Checks(form="ifeval").refuse(asked)
    assert str(met.value).startswith(said)


def test_without_instructions_there_is_nothing_to_grade() -> None:
    """Columns that are missing, null or empty give no score."""
    asked = [Asked([], meta) for meta in ({}, {"instruction_id_list": None}, {"instruction_id_list": [], "kwargs": []})]
    assert list(Checks(form="ifeval").score(asked, ["Tea."] * 3)) == [None] * 3
    no_kwargs = Asked([], {"instruction_id_list": ["punctuation:no_comma"]})
    assert list(Checks().score([no_kwargs], ["Tea."])) == [1.0]
