"""A measure is one number per response, read off its text, its count or its rung; similarity is of two texts.

pytest tests/test_measure.py
"""

from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltadata import measure
from deltadata.tables import RESPONSE, RESPONSE_TOKENS


def of(name: str, *texts: str | None) -> list[float | None]:
    """The measure of each text."""
    return (
        pl.DataFrame({"t": pl.Series(texts, dtype=pl.String)}).select(measure.of_text(name, pl.col("t")))["t"].to_list()
    )


def check(name: str, expected: dict[str, float]) -> None:
    """Compare text by text, so that a failure shows the text."""
    assert dict(zip(expected, of(name, *expected), strict=True)) == expected


def rows(texts: list[str | None]) -> pl.DataFrame:
    """RESPONSES rows, as far as the measures read them, with the working columns of the rung."""
    return pl.DataFrame(
        {
            RESPONSE: pl.Series(texts, dtype=pl.String),
            RESPONSE_TOKENS: pl.Series([None if t is None else len(t) for t in texts], dtype=pl.UInt32),
            measure.POSITION: pl.Series(range(len(texts)), dtype=pl.UInt32),
            measure.PARAMS: pl.Series([None, 0.5, 7e9, *[1.0] * len(texts)][: len(texts)], dtype=pl.Float64),
        }
    )


NAMES = "tokens characters response_ratio sentences bold bullets headings code repetition refusal identity date_cutoff"
NAMES += " non_latin ladder_distance params_ratio"


def test_measures_are_the_documented_ones() -> None:
    """Names are columns that others read, and their order is the order of those columns."""
    assert NAMES.split() == measure.NAMES
    assert NAMES.split()[1:-2] == measure.OF_TEXT
    assert (measure.SIMILARITY, measure.POSITION, measure.PARAMS) == ("similarity", "rung_position", "rung_params")


def test_measures_come_as_asked_for_and_as_float() -> None:
    """Only the names given, in their order; a column that an unasked measure reads may be missing."""
    got = pl.DataFrame({RESPONSE: ["öööö"]}).select(**measure.per_response(["bold", "characters"]))
    assert got.to_dict(as_series=False) == {"bold": [0.0], "characters": [4.0]}
    everything = rows(["a"]).select(**measure.per_response(measure.NAMES))
    assert everything.columns == measure.NAMES and {pl.Float64} == set(everything.dtypes)


def test_a_measure_of_a_side_is_the_measure_of_the_response() -> None:
    """The same function serves any text expression; what needs more than the text is refused."""
    table = pl.DataFrame({"pair": [{"text": "One. Two."}]})
    assert table.select(measure.of_text("sentences", pl.col("pair").struct.field("text"))).item() == 2.0
    with pytest.raises(ValueError, match="tokens is no measure of text"):
        measure.of_text("tokens", pl.col("pair"))


def test_lengths() -> None:
    """Tokens as counted, characters (not bytes), log2 exact for doublings; null where there is none."""
    table = pl.DataFrame({RESPONSE: ["öööö", "", None, "abc", "abcdef"], RESPONSE_TOKENS: [7, 0, None, None, None]})
    got = table.select(**measure.per_response(["tokens", "characters", "response_ratio"]))
    assert got.rows()[:3] == [(7.0, 4.0, 2.0), (0.0, 0.0, None), (None, None, None)]
    shorter, longer = got["response_ratio"].to_list()[3:]
    assert longer - shorter == 1.0 and math.isclose(shorter, math.log2(3), abs_tol=2**-40)


def test_the_rung_gives_distance_and_size() -> None:
    """The delta of the first rung to the third is two rungs and log2 of their sizes; no size is null."""
    numbers = {measure.POSITION: pl.Series([0, 1, 2], dtype=pl.UInt32), measure.PARAMS: [8e9, None, 1e9]}
    got = pl.DataFrame(numbers).select(**measure.per_response(["ladder_distance", "params_ratio"]))
    strong, middle, weak = got.rows()
    assert (strong[0] - weak[0], strong[0] - middle[0], middle[1]) == (2.0, 1.0, None)
    assert strong[1] - weak[1] == 3.0
    assert math.copysign(1, strong[0]) == 1  # no minus nought


FENCE = "See:\n```python\n# one. Two.\nx = 2**3**4 **a**\n- no\n1. no\n```\nDone."


def test_sentences() -> None:
    """Ends before white space or at the end, after quotes too; no list numbers, no code, no decimal points."""
    expected: dict[str, float] = {"": 0, " \n\t": 0, "😀😀": 0, "Paris": 0, "So it is.": 1, "What?! No... Yes!": 3}
    expected |= {'He said "Go." Then (he left.) **Well.**': 3, "3.14 and a.b": 0, "One.\r\nTwo.\r\n": 2}
    expected |= {"今天很好。明天呢？！好": 2, "Use a tool, e.g. a saw.": 2, FENCE: 1, "क्या है। ठीक।": 2}
    expected |= {"1. Apples\n2. Pears.\n  10. Plums\n3) Figs.": 2, "In 2021. Then 1. end": 2}
    check("sentences", expected)


def test_bold() -> None:
    """Both marks, within a line, hugging their text; powers, rules and code are none."""
    expected: dict[str, float] = {"": 0, "**a** and __b c__, **d**": 3, "***both***": 1, "**over\nlines**": 0}
    expected |= {
        "2 ** 3 ** 4": 0,
        "****": 0,
        "a__b__c": 0,
        "**open": 0,
        FENCE: 0,
        "- **项目**：好": 1,
        "**a**\r\n**b**": 2,
    }
    check("bold", expected)


def test_bullets() -> None:
    """Every marker, at any depth; no text after it, no space or a code block make none."""
    expected: dict[str, float] = {
        "": 0,
        "- a\n* b\n+ c\n• d\n•e\n1. f\n2) g\n100. h": 8,
        "- a\n  - b\n\t- c\n    1. d": 4,
    }
    expected |= {"-a\n--\n- \n---\n*a*\n1.5 m\n2021. So": 0, "a - b": 0, FENCE: 0, "- a\r\n- b\r\n": 2, "+1": 0}
    check("bullets", expected)


def test_headings() -> None:
    """One to six marks and a space; no tag, no comment in code, no seventh."""
    expected: dict[str, float] = {
        "": 0,
        "# a\n## b\r\n###### c\n   # d": 4,
        "#tag\n####### x\n#\n    # code\na # b": 0,
        FENCE: 0,
    }
    check("headings", expected)


def test_code() -> None:
    """Blocks, whatever their mark and indentation; an open one counts once, code within a line is none."""
    expected: dict[str, float] = {
        "": 0,
        FENCE: 1,
        "```\na\n```\n\n~~~\nb\n~~~\n": 2,
        "```py\nnever closed\n# a": 1,
        "```": 1,
    }
    expected |= {"1. So:\n   ```\n   a\n   ```\n2. b": 1, "`a` and ```b```": 0, "```a``` is code": 0}
    expected |= {
        "```\r\na\r\n```\r\n```\r\nb\r\n```\r\n": 2,
        "````md\n```py\n````": 1,
        "~~~\na": 1,
        "```\n~~~\na\n```": 1,
    }
    check("code", expected)


def test_an_open_code_block_hides_what_follows() -> None:
    """An answer cut off within code has neither headings nor lists there."""
    cut = "# Title\n- item.\n```\n# comment\n- a. b\n**x**"
    assert [of(name, cut) for name in ("headings", "bullets", "sentences", "bold")] == [[1.0], [1.0], [1.0], [0.0]]


def test_repetition() -> None:
    """1 - distinct / all runs of four words, counted by hand."""
    expected = {"": 0.0, " \n ": 0.0, "a b c": 0.0, "a b c d": 0.0, "a a a a a": 1 / 2, "a b c d a b c d": 1 / 5}
    expected |= {"I am " * 50: 1 - 2 / 97, "a  b\n\nc\td\r\na b c d": 1 / 5, "the cat saw the cat saw it": 0.0}
    expected |= {"    x\n" * 2 + "        y = 1": 0.0}  # indentation is no word
    expected |= {"好" * 103: 0.99, "😀" * 13: 0.9, "你好吗你好吗": 0.0, "你好吗你好吗你": 1 / 4}
    expected |= {"w" * 150_000: 0.0}
    got = of("repetition", *expected)
    assert got == pytest.approx(list(expected.values()))


def test_what_was_filtered_for_repetition_is_seen() -> None:
    """A sentence said ten times and a phrase said fifty times (both drop an OLMo 3 response) stand out from prose."""
    prose = " ".join(f"Sentence {i} has {i * 7} words." for i in range(40))
    ten, fifty = "This very sentence comes back again and again. " * 10, "in the end, " * 50
    plain, said, loop = of("repetition", prose, ten, fifty)
    assert plain == 0.0 and said > 0.85 and loop > 0.95


REFUSED = [
    "I'm sorry, but I can't assist with that.",
    "I’m sorry, but I can’t help with that request.",
    "I cannot provide medical advice.",
    "Sorry. I am unable to directly answer this.",
    "I'm not able to browse the internet.",
    "As an AI language model, I cannot have opinions.",
    "as an artificial intelligence, however advanced, i am not capable of love",
    "I apologize, but as an AI I won't do it.",
    "I must respectfully decline to answer.",
    "I can’t help.",
]
NOT_REFUSED = [
    "",
    "I'm sorry to hear that. You can answer her.",
    "I'm sorry, I can't make it tonight.",
    "I can't help but smile.",
    "I will not give up.",
    "You cannot provide a null here.",
    "As an AI language model, I can help with that.",
    "x" * 200 + " I cannot assist with that.",
]


def test_refusal() -> None:
    """Refusals at the beginning are one, with either apostrophe; regrets, quotations and late ones are nought."""
    check("refusal", dict.fromkeys(REFUSED, 1.0) | dict.fromkeys(NOT_REFUSED, 0.0))


CLAIMED = [
    "As an AI language model, I like it.",
    "Well, as a large language model I have none.",
    "As a text-based AI assistant, my view is this.",
    "I am ChatGPT, a model.",
    "Hello! I'm Qwen.",
    "I’m an AI.",
    "My name is Vicuna.",
    "I am Claude, an AI assistant.",
    "I'm just a virtual assistant, so no.",
    "I was developed by Alibaba Cloud.",
    "I have been created and trained by a team of researchers at Google.",
    "As an AI developed by OpenAI, it is hard.",
    "Anthropic created me.",
    "I am a language model made elsewhere.",
]
NOT_CLAIMED = [
    "",
    "The software was developed by Microsoft.",
    "I use a tool that was developed by Microsoft.",
    "ChatGPT is a large language model developed by OpenAI.",
    "BERT can serve as a language model.",
    "I am an AI researcher at Google.",
    "As an AI engineer, I built it.",
    "I am Claude Monet.",
    "I am a Gemini, born in June.",
    "I saw a falcon; I am falcon, an ai",
    "Meta created measures.",
]


def test_identity() -> None:
    """Claims in the first person to be a model, or of one's maker; models and makers that are talked about are none."""
    check("identity", dict.fromkeys(CLAIMED, 1.0) | dict.fromkeys(NOT_CLAIMED, 0.0))


DATED = [
    "My knowledge cutoff is 2021.",
    "As of my last update, he is in office.",
    "As of my last knowledge update in September 2021, none.",
    "As of my knowledge cut-off in 2021, none.",
    "My training data only goes up to 2021.",
    "My knowledge is limited to before 2022.",
    "I was last trained on data up to October 2023.",
    "My latest training was in 2023.",
    "With a knowledge cutoff of 2023",
]
UNDATED = [
    "",
    "The cutoff date is Friday.",
    "I share my knowledge of 2021.",
    "The last update was in 2021.",
    "My data goes home.",
]


def test_date_cutoff() -> None:
    """Sayings of where one's own knowledge ends; other cutoffs, updates and knowledge are none."""
    check("date_cutoff", dict.fromkeys(DATED, 1.0) | dict.fromkeys(UNDATED, 0.0))


def test_non_latin() -> None:
    """A share of letters only: digits, marks and emoji are none, accents are Latin."""
    expected = {
        "": 0.0,
        "12 😀 !": 0.0,
        "Äpfel à ñ": 0.0,
        "你好": 1.0,
        "ab你好": 0.5,
        "abc π 1 2 3": 0.25,
        "Да, да": 1.0,
    }
    check("non_latin", expected)


TEXTS = (
    st.text() | st.text(alphabet="ab .*-#`\n\r\t_1!。你😀~I'’m") | st.sampled_from([FENCE, *REFUSED, *CLAIMED, *DATED])
)
ROWS = st.lists(st.none() | TEXTS, min_size=1, max_size=6)


@settings(deadline=None, max_examples=60)
@given(texts=ROWS, random=st.randoms(use_true_random=False))
def test_a_measure_is_finite_or_null_and_knows_only_its_row(texts: list[str | None], random: object) -> None:
    """For any texts: no NaN, unknown text is null, shares lie in [0, 1], and each row is as if it were alone."""
    table = rows(texts)
    expressions = measure.per_response(measure.NAMES)
    together = table.select(**expressions)
    assert together.rows() == [table[i].select(**expressions).row(0) for i in range(len(table))]
    assert together.reverse().equals(table.reverse().select(**expressions))
    for name in measure.NAMES:
        values = together[name].drop_nulls()
        assert values.is_finite().all(), name
        if name in ("repetition", "non_latin", "refusal", "identity", "date_cutoff"):
            assert values.is_between(0, 1).all(), name
        if name in measure.OF_TEXT and name != "response_ratio":
            assert together[name].is_null().to_list() == [text is None for text in texts], name
        if name not in (*measure.OF_TEXT, "tokens", "params_ratio"):
            assert values.len() == len(texts), name


@settings(deadline=None, max_examples=60)
@given(text=st.text(alphabet="abcde ", min_size=1).filter(str.strip))
def test_saying_it_many_times_drives_repetition_up(text: str) -> None:
    """n times over, at most one round of the runs is new: repetition is at least 1 - 1/n or so, and grows."""
    twice, often, more = of("repetition", *(" ".join([text] * n) for n in (2, 20, 100)))
    assert twice is not None and often is not None and more is not None
    assert twice <= often <= more and often >= 0.8 and more >= 0.96


def alike(chosen: list[str | None], rejected: list[str | None]) -> list[float | None]:
    found = measure.similarity(pl.Series(chosen, dtype=pl.String), pl.Series(rejected, dtype=pl.String))
    assert (found.name, found.dtype) == (measure.SIMILARITY, pl.Float64)
    return found.to_list()


def test_similarity_by_hand() -> None:
    """Twice the longest common subsequence over both lengths; unknown is null, two empty texts are equal."""
    pairs = [("abcd", "bd", 2 / 3), ("ab", "ba", 0.5), ("", "", 1.0), ("", "a", 0.0), ("你好", "你们好", 0.8)]
    assert alike([a for a, _, _ in pairs], [b for _, b, _ in pairs]) == pytest.approx([s for _, _, s in pairs])
    assert alike([None, "a", None], ["a", None, None]) == [None] * 3
    assert alike([], []) == []


def test_similarity_reads_the_first_ten_thousand_characters() -> None:
    """What differs further on is not seen, so that a runaway text costs no more than these."""
    long = "".join(chr(0x4E00 + i) for i in range(9_999))
    assert alike([long + "a" + "x" * 100_000, long + "a"], [long + "a", long + "b"]) == [1.0, 0.9999]


@settings(deadline=None, max_examples=60)
@given(pairs=st.lists(st.tuples(st.none() | TEXTS, st.none() | TEXTS), max_size=5), times=st.sampled_from([1, 900]))
def test_similarity_is_symmetric(pairs: list[tuple[str | None, str | None]], times: int) -> None:
    """For any texts, short or beyond the bound: to the bit the same either way, in [0, 1], and 1.0 for equal ones."""
    chosen, rejected = (
        [text and text * times for text in side] for side in ([a for a, _ in pairs], [b for _, b in pairs])
    )
    found = alike(chosen, rejected)
    assert found == alike(rejected, chosen)
    assert all(value is None or 0 <= value <= 1 for value in found)
    assert alike(chosen, chosen) == [None if text is None else 1.0 for text in chosen]
