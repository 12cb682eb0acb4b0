"""Duplicates: what counts as the same prompt, which stage sees it, and that only a true twin drops a row.

pytest tests/test_dedup.py
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltadata import dedup, errors, tables

CAKE = (
    "Write a short recipe for a chocolate cake that a beginner can bake at home. List the ingredients first. "
    "Then give numbered steps, and say how long each of them takes. Do not use an electric mixer, as many people "
    "have none. Close with one tip for serving the cake to children at a birthday party."
)
RIVER = "请详细介绍一下长江流域的地理特征和气候条件，并说明它们对当地农业生产和人民生活的影响以及未来可能发生的变化趋势"
EDGE = "Explain the difference between weather and climate to a ten year old child, please."


def normal(text: str) -> str:
    """One text normalised."""
    return pl.select(dedup.normal(pl.lit(text))).item()  # type: ignore[no-any-return]


def windows(text: str) -> set[bytes]:
    """The shingles as the module's docstring has them."""
    data = normal(text).encode()
    return {data[i : i + 5] for i in range(len(data))}


def jaccard(one: str, other: str) -> float:
    """The similarity of two texts, by Python sets."""
    a, b = windows(one), windows(other)
    return len(a & b) / len(a | b)


def stage(first: str, second: str) -> str:
    """The first stage that drops `second` for `first`, as `collect` goes through them."""
    ids = [tables.prompt_id([{"role": "user", "content": text}]) for text in (first, second)]
    frame = pl.DataFrame({"prompt_id": ids, "text": [first, second]}).with_columns(key=dedup.key(pl.col("text")))
    if dedup.twins(frame, "prompt_id")[1] == ids[0]:
        return "exact"
    if dedup.twins(frame, "key")[1] == ids[0]:
        return "normalised"
    return "near" if dedup.near([frame["text"]])["row"].to_list() == [1] else "none"


PLANTED = [
    ("the same text", CAKE, CAKE, "exact"),
    ("upper case", CAKE, CAKE.upper(), "normalised"),
    ("other white space", CAKE, "\n  " + CAKE.replace(" ", "  ").replace(". ", ".\r\n\t"), "normalised"),
    ("other punctuation", "What is DNA?", "what is 'DNA'...", "normalised"),
    ("zero width and soft hyphens", EDGE, EDGE.replace("er", "e\u200br").replace("th", "t\u00adh"), "normalised"),
    ("full width", EDGE, "".join(chr(ord(c) + 0xFEE0) if c.isalnum() else c for c in EDGE), "normalised"),
    ("Cyrillic look-alikes", EDGE, EDGE.translate(str.maketrans("aeopcxy", "аеорсху")), "normalised"),
    ("Greek capitals", "A BRIEF HISTORY OF TIME", "Α ΒRΙΕF ΗΙSΤΟRΥ ΟF ΤΙΜE".replace("Μ", "M"), "normalised"),
    ("German ß, final sigma", "Straße ΟΔΟΣ", "STRASSE οδος", "normalised"),
    ("another dash", "A well-known long-term bond", "a well‑known long—term bond", "normalised"),
    ("one word of 53", CAKE, CAKE.replace("chocolate", "strawberry"), "near"),
    ("one word of 14", EDGE, EDGE.replace("child", "kid"), "near"),
    ("sentences in another order", CAKE, " ".join(reversed(CAKE.split(". "))), "near"),
    ("a word put in front", CAKE, "Please: " + CAKE, "near"),
    ("Chinese, one character of 54", RIVER, RIVER.replace("未", "将"), "near"),
    ("Chinese, one word of 54 characters", RIVER, RIVER.replace("未来", "今后"), "near"),
    ("Chinese, two words of them", RIVER, RIVER.replace("未来", "今后").replace("详细", "简单"), "none"),
    ("Chinese with spaces", RIVER, RIVER.replace("长江", " 长江 "), "near"),
    ("one word of 6", "Write a poem about the sea", "Write a poem about the war", "none"),
    ("a copy inside a prompt twice as long", EDGE, f"{EDGE} {CAKE[:100]}", "none"),
    ("a translation", "What is the capital of France?", "Quelle est la capitale de la France ?", "none"),
    ("the same words otherwise", EDGE, "How would you tell a kid of ten what sets climate apart from weather?", "none"),
    ("another operator", "What is 12 + 5?", "What is 12 - 5?", "none"),
    ("a power", "What is 10²?", "What is 102?", "none"),
    ("another unit", "Give 5 μg", "Give 5 mg", "none"),
    ("another language of the name", "Tell me about C#", "Tell me about C++", "none"),
    ("an accent", "What is a résumé?", "What is a resume?", "none"),
]


@pytest.mark.parametrize(("first", "second", "caught"), [row[1:] for row in PLANTED], ids=[row[0] for row in PLANTED])
def test_each_planted_copy_is_caught_by_its_stage(first: str, second: str, caught: str) -> None:
    """Exact copies, case and space, edits, order, look-alikes and Chinese; different questions stay."""
    assert stage(first, second) == caught


def test_the_plain_text_is_the_user_turns_joined_by_a_newline() -> None:
    """System and assistant turns are not the prompt's identity."""
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Why?\n")]
    messages = [[{"role": role, "content": content} for role, content in turns], [{"role": "user", "content": "Go"}]]
    frame = pl.DataFrame({"prompt": messages, "other": messages[::-1]})
    assert frame.select(dedup.plain())["prompt"].to_list() == ["Hi\nWhy?\n", "Go"]
    assert frame.select(dedup.plain("other"))["other"].to_list() == ["Go", "Hi\nWhy?\n"]


def test_what_is_left_of_a_text() -> None:
    """Marks with a meaning stay, the others are one space; a text of punctuation alone is empty and has no key."""
    assert (
        normal("  «Hello», world… (a_b) 50% of $3.20;\u200d a*b/c = @x #1\n")
        == "hello world a_b 50% of $3 20 a*b/c = @x #1"
    )
    assert normal("\u3000ﬁne\u00a0ﬀ\ufeff") == "fine ff"
    keys = pl.Series(["?!", "", None, "a", "A."]).to_frame("t").select(dedup.key(pl.col("t")))["t"].to_list()
    assert keys[:3] == [None, None, None]
    assert keys[3] == keys[4] > 2**64


def test_twins_name_the_first_and_spare_known_rows() -> None:
    """The first of equal rows stays, the others name it; a null is nobody's twin; known rows are never dropped."""
    frame = pl.DataFrame({"prompt_id": list("abcdef"), "key": [7, 7, None, 8, 7, None]})
    assert dedup.twins(frame, "key").to_list() == [None, "a", None, None, "a", None]
    assert dedup.twins(frame, "key", fixed_rows=2).to_list() == [None, None, None, None, "a", None]
    assert dedup.twins(frame.clear(), "key").to_list() == []


# Near duplicates

WORDS = ["river", "stone", "window", "letter", "garden", "seven", "purple", "answer"]
WORDS += ["monkey", "bridge", "silver", "copper", "planet", "summer", "winter"]


def long_text(*edits: int) -> str:
    """120 different words; each edit replaces the word of that number by another one."""
    words = [f"{WORDS[n % 15]}{WORDS[n // 15]}" for n in range(120)]
    for edit in edits:
        words[edit] = f"edited{WORDS[edit % 15]}{WORDS[edit // 15][::-1]}"
    return " ".join(words)


def found(texts: list[str | None], **options: object) -> list[tuple[int, int]]:
    """(row, twin) of `near` on one batch."""
    return dedup.near([pl.Series(texts, dtype=pl.String)], **options).select("row", "twin_row").rows()  # type: ignore[arg-type]


def test_drops_do_not_chain() -> None:
    """A~B and B~C but not A~C: B goes, and C stays, as it is compared with kept rows only."""
    a, b, c = long_text(), long_text(*range(10)), long_text(*range(20))
    assert jaccard(a, b) >= 0.8 <= jaccard(b, c)
    assert jaccard(a, c) < 0.8
    assert found([a, b, c]) == [(1, 0)]
    assert found([b, a, c]) == [(1, 0), (2, 0)]


def test_the_twin_is_the_first_kept_row_that_is_similar() -> None:
    """Two kept rows are similar to the third: the earlier is named, though the later is nearer."""
    a, c, b = long_text(), long_text(*range(11)), long_text(*range(16))
    assert jaccard(a, b) < 0.8 <= jaccard(a, c) < jaccard(b, c)
    assert found([a, b, c]) == [(2, 0)]
    copies = [EDGE] * 6
    assert found([EDGE, a, *copies, b, c])[-1] == (9, 1)


def test_known_rows_are_kept_and_drop_later_ones() -> None:
    """Rows of an earlier run come first, whatever the priority, and stay even where they are alike."""
    a, b, c = long_text(), long_text(3), long_text(4)
    assert found([a, b, c], fixed_rows=2) == [(2, 0)]
    assert found([a, b, c, c], fixed_rows=2, priority=pl.Series([9, 8, 1, 0])) == [(2, 0), (3, 0)]
    assert found([a, b, c], fixed_rows=3) == []


def test_priority_decides_who_stays() -> None:
    """The lowest stays, a tie goes to the earlier row; the report is by row."""
    texts: list[str | None] = [long_text(), EDGE, long_text(3), long_text(4), EDGE + "!"]
    assert found(texts) == [(2, 0), (3, 0), (4, 1)]
    assert found(texts, priority=pl.Series([2, 2, 1, 1, 1])) == [(0, 2), (1, 4), (3, 2)]


def test_null_and_empty_texts_take_no_part() -> None:
    """What an earlier stage has dropped comes as null and is nobody's twin; so does a text without letters."""
    assert found([None, "", "?!", None, "", "?!", EDGE, None, EDGE]) == [(8, 6)]
    assert dedup.near([]).schema == {"row": pl.UInt32, "twin_row": pl.UInt32, "jaccard": pl.Float64}
    assert found([]) == found([None]) == found(["a"]) == []
    assert found(["a", "ab", "a", "ab\n"]) == [(2, 0), (3, 1)]


@pytest.mark.parametrize("threshold", [0.49, 1.01, float("nan")])
def test_a_threshold_out_of_reach_is_refused(threshold: float) -> None:
    """Below a half, 80 hashes find too little."""
    with pytest.raises(errors.UserError, match="threshold"):
        dedup.near([], threshold)


@pytest.mark.parametrize(("threshold", "rows"), [(0.5, 2), (0.7, 4), (0.8, 5), (0.9, 8), (1.0, 8)])
def test_bands_follow_the_threshold(threshold: float, rows: int) -> None:
    """As long as 99 % of the pairs at the threshold share a band: 1 - (1 - t^rows)^(80 / rows)."""
    assert dedup.band_rows(threshold) == rows


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_only_true_twins_drop(data: st.DataObject) -> None:
    """Every dropped row names an earlier kept row with its true similarity, at or above the threshold."""
    some = st.sampled_from([EDGE, CAKE, RIVER, long_text(), "Hi", ""])
    texts = [
        data.draw(st.sampled_from([str, str.upper]))(text).replace(
            *data.draw(st.sampled_from(["ae", "to", "o ", "一."]))
        )
        for text in data.draw(st.lists(some, max_size=25))
    ]
    threshold, known = data.draw(st.sampled_from([0.5, 0.65, 0.8, 1.0])), data.draw(st.integers(0, len(texts)))
    result = dedup.near([pl.Series(texts, dtype=pl.String)], threshold, fixed_rows=known)
    dropped = {row: (twin, value) for row, twin, value in result.rows()}
    assert len(dropped) == result.height
    for row, (twin, value) in dropped.items():
        assert known <= row > twin
        assert twin not in dropped
        assert value == jaccard(texts[row], texts[twin]) >= threshold
    kept = [row for row in range(len(texts)) if row not in dropped and windows(texts[row])]
    for row in kept:  # nothing that is the same in all its shingles is overlooked
        assert row < known or all(windows(texts[row]) != windows(texts[twin]) for twin in kept if twin < row)


def pool(count: int) -> list[str]:
    """Prompts of 20 to 120 words; half of them are edits of an earlier one."""
    chance, texts = random.Random(1), [long_text()]
    words = [f"{one}{two}" for one in WORDS for two in WORDS]
    while len(texts) < count:
        if chance.random() < 0.5:
            texts.append(" ".join(chance.choices(words, k=chance.randint(20, 120))))
        else:
            share, parts = chance.random() * 0.15, chance.choice(texts).split()
            texts.append(" ".join(chance.choice(words) if chance.random() < share else part for part in parts))
    return texts


def test_it_finds_what_brute_force_finds() -> None:
    """700 prompts, every pair by Python sets: the same rows go and the same twins are named."""
    texts = pool(700)
    sets = [windows(text) for text in texts]
    kept: list[int] = []
    truth = []
    for row, mine in enumerate(sets):
        twins = (twin for twin in kept if len(mine & sets[twin]) / len(mine | sets[twin]) >= 0.8)
        twin = next(twins, None)
        if twin is None:
            kept.append(row)
        else:
            truth.append((row, twin))
    assert len(truth) > 150
    assert len(set(truth) ^ set(found(list(texts)))) <= 0.01 * len(truth)


def test_batch_borders_change_nothing() -> None:
    """One batch, or many of uneven length with empty ones between: the same report."""
    texts = pool(1_500)
    cuts = [0, 1, 1, 40, 977, 1_500, 1_500]
    whole = dedup.near([pl.Series(texts)])
    assert whole.height
    assert whole.equals(dedup.near(pl.Series(texts[start:end], dtype=pl.String) for start, end in pairwise(cuts)))
    assert not whole.equals(dedup.near([pl.Series(texts[::-1])]))


def test_threads_change_nothing() -> None:
    """One thread or many, in a process of its own each: the same report, byte for byte."""
    script = (
        "import sys; sys.path.insert(0, 'tests'); import polars as pl, test_dedup as t; from deltadata import dedup;"
        "print(dedup.near([pl.Series(t.pool(1500))]).write_csv())"
    )
    reports = []
    for threads in ("1", "4"):
        setting = {"POLARS_MAX_THREADS": threads, "RAYON_NUM_THREADS": threads, "PYTHONPATH": os.pathsep.join(sys.path)}
        reports.append(
            subprocess.run([sys.executable, "-c", script], env=os.environ | setting, capture_output=True, check=True)
        )
    assert reports[0].stdout == reports[1].stdout
    assert reports[0].stdout.count(b"\n") > 300


def test_a_crowd_of_look_alikes_costs_no_square() -> None:
    """Of 6,000 prompts that differ in one word the first stays: in order, without 18 million comparisons."""
    texts: list[str | None] = [long_text() + f" {number:x}" for number in range(6_000)]
    assert found(texts) == [(row, 0) for row in range(1, 6_000)]


def test_texts_of_any_length() -> None:
    """A prompt of a megabyte beside short ones: as similar as its shingles are."""
    large = " ".join(f"{number:x}" for number in range(200_000))
    report = dedup.near([pl.Series([large, EDGE, large[:-200], EDGE[:-3], "x" * 3_000, "x" * 9])])
    assert report.select("row", "twin_row").rows() == [(2, 0), (3, 1), (5, 4)]
    assert report["jaccard"].to_list() == [jaccard(large, large[:-200]), jaccard(EDGE, EDGE[:-3]), 1.0]
