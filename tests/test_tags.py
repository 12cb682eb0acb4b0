"""A tag for each kind of prompt, in the order of the table, and how often it is right where the kind is known.

pytest tests/test_tags.py
"""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltadata.tags import NAMES, tag

QUESTIONS = Path(__file__).parents[2] / "shared" / "data" / "mt_bench" / "question.jsonl"


def tags(*texts: str | None) -> list[str | None]:
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    return frame.select(tag(pl.col("text"))).to_series().to_list()


EXAMPLES = {
    "roleplay": [
        "Act as a Linux terminal.",
        "I want you to act as a travel guide.",
        "Pretend you are a dragon.",
        "Please take on the role of a coach.",
        "Imagine you are a teacher. What do you say?",
    ],
    "translation": [
        "Translate this to French: hello",
        "Can you please translate the text below?",
        "How do you say 'good evening' in Japanese?",
        "Give me a translation of the poem into German.",
    ],
    "summarisation": [
        "Summarize the article below.",
        "Could you give me a short summary of Hamlet?",
        "Long text. TL;DR",
    ],
    "classification": [
        "Classify these animals.",
        "Decide if the review is kind.",
        "Is it positive, negative, or neutral?",
        "Rate the following films.",
    ],
    "extraction": [
        "Extract the names from the text.",
        "Identify all cities mentioned here: Rome, Bonn",
        "Now find every date in the following letter.",
    ],
    "code": [
        "Write a function that sorts a list.",
        "What is wrong?\n```\nx = 1\n```",
        "How do I read a file in Python?",
        "is queue an ADT or a data structure",
    ],
    "maths": [
        "Solve for x: 2x + 3 = 7",
        "What is 12 + 30 / 2?",
        "He eats 2 of 5 apples. How many are left?",
        "f(x) = 3. Find f(2).",
    ],
    "rewriting": ["Rewrite the text in plain words.", "Please proofread my letter.", "Hello, can you simplify this?"],
    "writing": [
        "Write a poem on rain.",
        "Help me draft an email to my boss.",
        "Tell me a joke.",
        "Write about the sea.",
    ],
    "ideas": ["Suggest names for a cat.", "Come up with a game.", "Make a list of snacks.", "gift ideas for a chemist"],
    "question": ["Why is the sky blue?", "who wrote faust", "Explain gravity.", "Best pizza in town?"],
    "other": ["Good morning", "", "Ich habe Hunger.", "I cannot sleep"],
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_tag_has_its_examples(name: str) -> None:
    """Orders are known behind words of courtesy, and blind to case."""
    assert tags(*EXAMPLES[name]) == [name] * len(EXAMPLES[name])
    assert tags(*(text.upper() for text in EXAMPLES[name])) == [name] * len(EXAMPLES[name])


def test_the_table_is_all_there_is() -> None:
    """Each tag has examples above, and null has none."""
    assert list(EXAMPLES) == NAMES
    assert tags(None, "Good morning") == [None, "other"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Act as a translator and translate this to French.", "roleplay"),
        ("Translate this Python code to French.", "translation"),
        ("Summarize the Python code.", "summarisation"),
        ("Write a Python script that solves the equation.", "code"),
        ("Suggest a film. What is it about?", "ideas"),
        ("How can I improve my sleep?", "question"),
        ("The actor acts as a king. He translated, classified and wrote poems.", "other"),
    ],
)
def test_the_first_of_the_table_wins_and_only_orders_count(text: str, name: str) -> None:
    """What fits two tags has the upper one; a verb amid a sentence orders nothing."""
    assert tags(text) == [name]


def test_only_the_first_4000_characters_are_read() -> None:
    """What stands behind them changes nothing."""
    assert tags("a" * 3999 + "?", "a" * 4000 + "?") == ["question", "other"]


@given(st.lists(st.text(max_size=60) | st.none(), max_size=5))
def test_every_text_has_one_tag_whatever_stands_beside_it(texts: list[str | None]) -> None:
    """A tag of the table for each text, the same alone as in company."""
    found = tags(*texts)
    assert found == [tags(text)[0] for text in texts]
    assert all(name in NAMES if text is not None else name is None for text, name in zip(texts, found, strict=True))


@pytest.mark.skipif(not QUESTIONS.exists(), reason="needs the questions of MT-bench beside the checkout")
def test_most_of_mt_bench_is_tagged_as_its_authors_did() -> None:
    """Nine in ten, where the tags have a counterpart; these questions were seen when the patterns were written."""
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    meant = {
        "writing": {"writing", "rewriting"},
        "roleplay": {"roleplay"},
        "math": {"maths"},
        "coding": {"code"},
        "extraction": {"extraction", "classification"},
        "reasoning": {"question", "classification"},
        "stem": {"question"},
        "humanities": {"question", "ideas"},
    }
    found = tags(*(row["turns"][0] for row in rows))
    right = sum(name in meant[row["category"]] for row, name in zip(rows, found, strict=True))
    assert right >= 0.9 * len(rows)
