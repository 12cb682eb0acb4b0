"""The prompts that the studies share: three splits without a common topic, every check one that the package grades.

pytest tests/test_study_prompts.py
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from deltadata.scorers import constraints
from studies import prompts
from studies.prompts import Draw, Topic

BEES = Topic("bees", "bee", ("honey", "wing"))
GOOD: dict[str, Any] = {  # of every template, an answer about bees that fulfils all that is asked
    "a_word": "Bees make honey.",
    "few_words": "Small insects, bees fly from flower to flower.",
    "no_commas": {2: "Bees fly. Bees sting.", 3: "Bees fly. Bees sting. Bees work."},
    "opening": "{text} bees are small.",
    "ending": "Bees are small. {text}",
    "bullets": {2: "- hive\n- honey", 3: "- hive\n- honey\n- wax", 4: "- hive\n- honey\n- wax\n- wing"},
    "question": "Do bees have {word}?",
    "title": "Bees and {word}",
    "because": "People like bees because they are useful.",
    "note": "{text} the bees are well. {end}",
    "good_and_bad": "A good thing is that bees make honey. A bad thing is that they sting.",
    "two_words": "Bees have honey on a wing.",
    "capitals": "BEES ARE SMALL.",
    "json_fact": '{{"topic": "bees", "fact": "They fly."}}',
}


def answer(name: str, checks: list[prompts.Check]) -> str:
    """The good answer with the numbers and words that this prompt asks for."""
    given = GOOD[name]
    if isinstance(given, dict):
        given = given[next(check["n"] for check in checks if check.get("relation") == "exactly")]
    words = {"word": next((check["all"][0] for check in checks if check["kind"] == "include"), "")}
    words["text"] = next((check["text"] for check in checks if "text" in check), "")
    words["end"] = next((check["text"] for check in checks if check["kind"] == "ends_with"), "")
    return given.format(**words)


def test_no_topic_and_no_prompt_is_in_two_splits() -> None:
    """32, 10 and 22 topics by 14 templates."""
    rows = {split: prompts.rows(split) for split in prompts.SPLITS}
    assert {split: len(found) for split, found in rows.items()} == {"train": 448, "validation": 140, "test": 308}
    topics = {split: {row["topic"] for row in found} for split, found in rows.items()}
    assert not topics["train"] & topics["test"] and not topics["train"] & topics["validation"]
    assert not topics["validation"] & topics["test"]
    texts = Counter(row["prompt"] for found in rows.values() for row in found)
    assert set(texts.values()) == {1}


def test_every_topic_has_a_stem_of_its_name_and_two_words() -> None:
    """Else a check would ask for what the prompt does not speak of."""
    assert len({topic.name for topic in prompts.TOPICS}) == len(prompts.TOPICS) == 72
    strange = [topic.name for topic in prompts.TOPICS if topic.stem not in topic.name]
    assert strange == ["mice"]  # its stem is that of one alone
    assert all(len(topic.words) == 2 for topic in prompts.TOPICS)


@pytest.mark.parametrize("template", prompts.TEMPLATES, ids=lambda template: template.__name__)
def test_a_good_answer_meets_all_checks_and_an_empty_line_not_all(template: prompts.Template) -> None:
    """And what the text asks for is what the checks hold it to."""
    asked = template(BEES, Draw(template.__name__, BEES.name))
    tests = [constraints.read(check) for check in asked.checks]
    good = answer(template.__name__, asked.checks)
    assert [test(good) for test in tests] == [True] * len(tests)
    assert not all(test("Dogs.") for test in tests)
    told = json.dumps(asked.checks, ensure_ascii=False)
    numbers = {check["n"] for check in asked.checks if "n" in check}
    assert {int(n) for n in re.findall(r"\d+", asked.text)} <= numbers
    quoted = [text.strip() for text in re.findall(r'"([^"]+)"', asked.text) if text != "- "]
    assert all(text in told for text in quoted)


def test_the_same_prompts_are_written_every_time(tmp_path: Path) -> None:
    """And a file that is right is left alone, so that what was made from it stays fresh."""
    files = prompts.write(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in files.values()}
    assert prompts.main(tmp_path, False) == {"train": 448, "validation": 140, "test": 308}
    assert {path: path.stat().st_mtime_ns for path in files.values()} == before
    first = json.loads(files["train"].read_text().splitlines()[0])
    assert [*first] == ["prompt", "check", "template", "topic"]
    assert first["topic"] == "bicycles" and first["template"] == "a_word"
    word, most = first["check"][2]["all"][0], first["check"][1]["n"]
    assert f"at most {most} words" in first["prompt"] and f'"{word}"' in first["prompt"]


def test_choices_follow_from_template_and_topic_alone() -> None:
    """The same key draws the same, another topic may draw otherwise, a second draw is another."""
    options = tuple(range(1000))
    assert Draw("a", "b")(options) == Draw("a", "b")(options)
    draw = Draw("a", "b")
    assert draw(options) != draw(options) and Draw("a", "c")(options) != Draw("a", "b")(options)
