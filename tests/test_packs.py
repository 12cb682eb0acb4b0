"""Decontamination: packs hold no text and the same numbers everywhere, and what they catch is what they promise.

pytest tests/test_packs.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltadata import ngrams, overlap, packs
from deltadata.errors import UserError
from deltadata.ngrams import build
from deltadata.overlap import COVERED, HITS, ITEM, ITEMS, PACK, ROW, SHARE

DATA = Path(__file__).parents[2] / "shared" / "data"

ITEM_TEXT = (
    "A farmer has seventeen sheep, and all but nine of them run away over the hill. "
    "How many sheep does the farmer have left when evening comes?"
)  # 26 words
OTHER = "Write a limerick about a lighthouse keeper who collects clocks but never knows what time it really is."
SHORT = "Who wrote the novel Middlemarch?"  # 5 words
CHINESE = "请解释为什么天空在白天是蓝色的而在日落时变成红色并给出一个简单的例子"
JAPANESE = "なぜ空は昼間に青く見え、夕方に赤くなるのか説明してください。"
ITEMS_OF = [ITEM_TEXT, OTHER, SHORT, CHINESE, JAPANESE]


def found(prompts: list[str | None], texts: list[str | None] = ITEMS_OF, **how: Any) -> pl.DataFrame:
    """What the prompts have in common with one pack of the texts."""
    return pl.concat(overlap.overlap([pl.Series(prompts, dtype=pl.String)], [build("set", texts)], **how))


def caught(prompt: str, size: int = 8) -> list[int]:
    """The items by which the prompt is contaminated."""
    rows = found([prompt], size=size).filter(overlap.contaminated())
    return rows[ITEMS].to_list()[0] if rows.height else []


# What a word is


def split(text: str) -> list[str]:
    return pl.Series([text]).to_frame("text").select(ngrams.words(pl.col("text"))).item().to_list()


def test_words() -> None:
    """Runs of letters, marks and digits, in NFKC and lower case; CJK and Thai by character; all else separates."""
    assert split('Don\'t  STOP_at\n"3.5 km"!') == ["don", "t", "stop", "at", "3", "5", "km"]
    assert split("ＦＵＬＬ　ｗｉｄｔｈ, ﬁne, École, ½") == ["full", "width", "fine", "école", "1", "2"]
    assert split("第3章はカタカナ") == ["第", "3", "章", "は", "カ", "タ", "カ", "ナ"]
    assert split("สวัสดี") == ["ส", "วั", "ส", "ดี"]
    assert split("hy\u00adphen zero\u200bwidth I \u2764\ufe0f it") == ["hyphen", "zerowidth", "i", "it"]
    assert split("안녕하세요 세계") == ["안녕하세요", "세계"]
    assert split("...!") == split("") == []


def words_by_hand(text: str) -> list[str]:
    """The same by unicodedata, character by character, for the alphabet that the properties below draw from."""
    out = ""
    for character in unicodedata.normalize("NFKC", text).lower():
        name, kind = unicodedata.name(character, ""), unicodedata.category(character)[0]
        if name.startswith(("CJK UNIFIED", "HIRAGANA LETTER", "KATAKANA LETTER")):
            out += f" {character} "
        else:
            out += character if kind in "LMN" else " "
    return out.split()


ALPHABET = "aAbB éÉ-_'1２ 漢字かナßﬁ.,\n"
TEXTS = st.lists(st.text(ALPHABET, max_size=30), max_size=6)


@settings(deadline=None)
@given(st.text(ALPHABET, max_size=60))
def test_the_words_of_the_expression_are_those_that_are_hashed(text: str) -> None:
    """One text: its words by polars, by hand, and as hashes are the same ones, in the same places."""
    assert split(text) == words_by_hand(text)
    assert ngrams.hashed(pl.Series([text, None, text])).words.tolist() == [hash_by_hand(w) for w in split(text)] * 2
    assert ngrams.hashed(pl.Series([text, None, text])).counts.tolist() == [len(split(text)), 0, len(split(text))]


# The hash


def hash_by_hand(word: str) -> int:
    """As the module's header says it."""
    total = 0
    for place, byte in enumerate(word.encode()):
        x = byte + 1
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        total += (x ^ x >> 31) * 0xD1342543DE82EF95**place
    return total % 2**64


def gram_by_hand(words: list[str]) -> int:
    h = len(words)
    for word in words:
        h = (h ^ hash_by_hand(word)) * 0x9E3779B97F4A7C15 % 2**64
        h ^= h >> 32
    return h


def test_the_hash_is_what_it_was() -> None:
    """Literal values: a pack that is shared must mean the same with any version and on any machine."""
    assert ngrams.hashed(pl.Series(["The É"])).words.tolist() == [THE, E_ACUTE]
    pack = build("set", ["The quick brown fox jumps over the lazy dog"], sizes=(8,))
    assert pack.grams[8].hashes.tolist() == sorted([FIRST, SECOND])
    assert gram_by_hand(["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy"]) == FIRST


THE, E_ACUTE = 10629259912702737140, 6696992963121402970
FIRST, SECOND = 17497000046731886503, 12943866578882249795


# A pack


def test_a_pack_of_three_items() -> None:
    """By hand: n-grams of the sizes by hash with their places, and shorter items whole, by their length."""
    pack = build("set", ["a b c d", None, "b c", "A, b! c."], sizes=(3, 4))
    assert pack.words.tolist() == [4, 0, 2, 3]
    expected = {2: {"b c": [4]}, 3: {"a b c": [0, 6], "b c d": [1]}, 4: {"a b c d": [0]}}
    for length, grams in expected.items():
        rows = sorted((gram_by_hand(gram.split()), at) for gram, places in grams.items() for at in places)
        assert list(zip(*(column.tolist() for column in pack.grams[length]), strict=True)) == rows
    assert set(pack.grams) == {2, 3, 4}


def test_a_pack_file_gives_the_pack_back(tmp_path: Path) -> None:
    """All of it, and writing that again gives the same bytes."""
    pack = build("set", ITEMS_OF, sources=[{"source": "mine.jsonl", "items": 5}])
    packs.write(tmp_path / "set.pack", pack)
    again = packs.read(tmp_path / "set.pack")
    assert (again.name, again.sizes, again.sources) == ("set", (8, 13), [{"source": "mine.jsonl", "items": 5}])
    assert again.words.tolist() == pack.words.tolist()
    assert {length: [column.tolist() for column in grams] for length, grams in again.grams.items()} == {
        length: [column.tolist() for column in grams] for length, grams in pack.grams.items()
    }
    packs.write(tmp_path / "again.pack", again)
    assert (tmp_path / "again.pack").read_bytes() == (tmp_path / "set.pack").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.pack", "set.pack"]


def test_no_text_is_in_the_file(tmp_path: Path) -> None:
    """No word of four letters or more of any item occurs in the bytes, in either case or as UTF-16."""
    packs.write(tmp_path / "set.pack", build("set", ITEMS_OF))
    content = (tmp_path / "set.pack").read_bytes()
    for word in [word for text in ITEMS_OF for word in split(text) if len(word.encode()) >= 4]:
        for form in (word, word.upper(), word.capitalize()):
            assert form.encode() not in content and form.encode("utf-16-le") not in content


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """Cut short, longer, one bit flipped anywhere; foreign, of another version, missing: UserError with its path."""
    path = tmp_path / "set.pack"
    packs.write(path, build("set", [ITEM_TEXT, OTHER]))
    whole = path.read_bytes()
    for place in {*range(whole.index(b"\n") + 1), len(whole) - 1, *range(10, len(whole), 97)}:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(UserError) as met:
            packs.read(path)
        assert met.value.where == str(path)
    newer = json.loads(whole.partition(b"\n")[0]) | {"version": 2}
    foreign = (
        b"",
        b"PAR1",
        b"\x1f\x8b\x08",
        b"[]\n",
        b"{}\n",
        b'"deltadata pack"\n',
        json.dumps(newer).encode() + b"\n",
    )
    for content in (whole[:-1], whole + b"\0", whole[: len(whole) // 2], whole[:20], *foreign):
        path.write_bytes(content)
        with pytest.raises(UserError):
            packs.read(path)
    with pytest.raises(UserError, match="cannot be read"):
        packs.read(tmp_path / "none.pack")


# What is caught: planted cases

WORDS = ITEM_TEXT.split()
SENTENCES = ITEM_TEXT.split(". ")
PLANTED = {
    "exact copy": (ITEM_TEXT, [0], [0]),
    "case": (ITEM_TEXT.upper(), [0], [0]),
    "white space": (" \n ".join(WORDS) + "\t", [0], [0]),
    "punctuation": (ITEM_TEXT.replace(",", " --").replace(".", ";").replace("?", "!!!"), [0], [0]),
    "full width (NFKC)": ("".join(chr(ord(c) + 0xFEE0) if c.isalpha() else c for c in ITEM_TEXT), [0], [0]),
    "invisible characters": (ITEM_TEXT.replace("ee", "e\u200be"), [0], [0]),
    "one word edited at the end": (ITEM_TEXT.replace("comes", "falls"), [0], [0]),
    "one word edited in the middle": (ITEM_TEXT.replace("hill", "road"), [0], [0]),
    "every sixth word edited": (" ".join("x" if i % 6 == 5 else w for i, w in enumerate(WORDS)), [], []),
    "inside a longer prompt": (f"Please answer at once. {ITEM_TEXT} Explain. " + "Take care. " * 200, [0], [0]),
    "sentences reordered": (f"{SENTENCES[1]} {SENTENCES[0]}.", [0], [0]),
    "words reordered": (" ".join(sorted(WORDS)), [], []),
    "Cyrillic look-alikes": (ITEM_TEXT.replace("a", "\u0430").replace("e", "\u0435"), [], []),
    "first third of it": (" ".join(WORDS[:9]), [], []),
    "first two thirds of it": (" ".join(WORDS[:18]), [0], [0]),
    "prompt shorter than n": ("How many sheep does he have?", [], []),
    "short item, exact": (SHORT, [2], [2]),
    "short item, case and punctuation": ("who WROTE the novel 'Middlemarch'", [2], [2]),
    "short item in a frame": (f"Q: {SHORT} Answer:", [2], [2]),
    "short item as half of the prompt": (f"Tell me now: {SHORT} And when?", [], []),
    "short item, one word edited": (SHORT.replace("novel", "book"), [], []),
    "Chinese without spaces": (CHINESE, [3], [3]),
    "Chinese inside a longer text": (f"老师问：“{CHINESE}。”然后大家都安静了，没有人愿意先回答这个问题。", [3], [3]),
    "Chinese, one character edited": (CHINESE.replace("日落", "日出"), [3], [3]),
    "Japanese without spaces": (JAPANESE.replace("、", ""), [4], [4]),
    "two items": (f"{OTHER}\n{ITEM_TEXT}", [0, 1], [0, 1]),
    "another text": ("What does a lighthouse keeper do all day long, and how is he paid for that?", [], []),
}


@pytest.mark.parametrize("case", PLANTED)
def test_planted(case: str) -> None:
    """Which changes of an item are still found in a prompt, with 8-grams and with 13-grams."""
    prompt, with_8, with_13 = PLANTED[case]
    assert (caught(prompt), caught(prompt, size=13)) == (with_8, with_13)


def test_the_figures_of_a_row() -> None:
    """By hand: 12 words, of which 9 stand in the item's 15; two 8-grams in common; the item's first is strongest."""
    item = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    prompt = "yes no two three four five six seven eight nine ten maybe"
    (row,) = found([None, "nothing here", prompt], [SHORT, item, item]).rows(named=True)
    assert row == {ROW: 2, PACK: "set", ITEM: 1, HITS: 2, SHARE: 9 / 12, COVERED: 9 / 15, ITEMS: [1, 2]}
    assert found([prompt], [item], at_least=0.7)[ITEMS].to_list() == [[]]
    assert found([prompt], [item], size=13).is_empty()


def test_repetitions_are_not_counted_twice() -> None:
    """An n-gram that the item or the prompt has many times covers each word of the item once."""
    (row,) = found(["ha " * 20], ["ha " * 12 + "so it ends"]).rows(named=True)
    assert (row[HITS], row[SHARE], row[COVERED]) == (13, 1.0, 12 / 15)


def test_half_of_an_item_is_enough() -> None:
    """Exactly `at_least` is contamination, for the verdict and for the list of items."""
    rows = found([" ".join(f"w{i}" for i in range(8))], [" ".join(f"w{i}" for i in range(16))])
    assert rows.filter(overlap.contaminated()).select(COVERED, ITEMS).rows() == [(0.5, [0])]


def test_spans_within_spans_are_counted_once() -> None:
    """Short items inside a long one: three n-grams of the prompt, and each of its words once."""
    pack = build("set", ["a b c d e", "b c d", "c d e"], sizes=(5,))
    (row,) = pl.concat(overlap.overlap([pl.Series(["a b c d e"])], [pack], size=5)).rows(named=True)
    assert (row[HITS], row[SHARE], row[ITEMS]) == (3, 1.0, [0, 1, 2])


def test_any_common_13_gram_is_enough_for_gpt_3s_rule() -> None:
    """at_least 0: one 13-gram of a long item, and 12 words are none."""
    item = " ".join(f"w{i}" for i in range(100))
    rows = found([" ".join(f"w{i}" for i in range(40, 40 + n)) for n in (12, 13)], [item], size=13, at_least=0.0)
    assert rows.filter(overlap.contaminated(0.0))[ROW].to_list() == [1]
    assert rows[COVERED].to_list() == [0.13]


def test_an_unknown_size_and_a_name_given_twice_are_refused() -> None:
    """Before any text is read."""
    with pytest.raises(UserError, match="no n-grams of 9 words"):
        found(["x"], size=9)
    with pytest.raises(UserError, match="two packs have this name"):
        next(overlap.overlap([], [build("a", ["x"]), build("b", ["x"]), build("a", ["y"])]))


def test_nothing_in_nothing_out() -> None:
    """No packs, no texts, packs without long items, empty batches: frames of the same columns."""
    batch = pl.Series(["one two three four five six seven eight nine", None, ""])
    for several in ([], [build("none", [])], [build("short", ["a", "", None])]):
        frames = list(overlap.overlap([batch, batch.head(0)], several, size=13))
        assert [frame.schema for frame in frames] == [overlap.SCHEMA] * 2 and not sum(f.height for f in frames)


# Against an independent count


def by_hand(prompts: list[str], texts: list[str], size: int) -> Iterator[tuple[Any, ...]]:
    """(row, item, hits, share, covered) by sets of tuples of words."""
    items = [words_by_hand(text) for text in texts]

    def covered(of: list[str], known: set[tuple[str, ...]], lengths: set[int]) -> tuple[int, int]:
        spans = [(i, i + n) for n in lengths for i in range(len(of) - n + 1) if tuple(of[i : i + n]) in known]
        return len(spans), len({place for span in spans for place in range(*span)})

    for row, prompt in enumerate(words_by_hand(text) for text in prompts):
        per_item, usable = [], set()
        for item, of in enumerate(items):
            n = min(size, len(of))
            if not n or (n < size and len(prompt) >= 2 * n):
                continue
            own = {tuple(of[i : i + n]) for i in range(len(of) - n + 1)}
            usable |= own
            there = own & {tuple(prompt[i : i + n]) for i in range(len(prompt) - n + 1)}
            per_item += [(-covered(of, there, {n})[1] / len(of), item)] if there else []
        if per_item:
            hits, share = covered(prompt, usable, {len(gram) for gram in usable})
            strongest = min(per_item)
            yield row, strongest[1], hits, share / len(prompt), -strongest[0]


FEW_WORDS = st.lists(st.sampled_from(["a", "b", "B,", "漢", "字か", "é", "-"]), max_size=12).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(st.lists(FEW_WORDS, max_size=6), st.lists(FEW_WORDS, max_size=5), st.sampled_from([2, 3, 5]))
def test_counts_are_those_of_sets_of_tuples(prompts: list[str], texts: list[str], size: int) -> None:
    """Every row of any small case agrees with a count by plain Python, to the last digit."""
    several = [build("set", texts, sizes=(2, 3, 5))]
    rows = pl.concat(overlap.overlap([pl.Series(prompts, dtype=pl.String)], several, size=size))
    assert rows.select(ROW, ITEM, HITS, SHARE, COVERED).rows() == list(by_hand(prompts, texts, size))


@settings(deadline=None)
@given(st.lists(FEW_WORDS, min_size=1, max_size=8), TEXTS, st.integers(1, 8), st.integers(1, 400), st.integers(1, 9))
def test_batches_slices_and_the_order_of_packs_change_nothing(
    prompts: list[str], texts: list[str], rows: int, slice_bytes: int, matches: int
) -> None:
    """Any cut into batches, any size of the working slices, packs forwards and backwards: the same rows."""
    several = [build("x", texts + prompts[:2], (3, 4)), build("b", prompts[1:], (3, 4)), build("m", texts, (3, 4))]
    whole = pl.Series(prompts)
    expected = pl.concat(overlap.overlap([whole], several, size=3))
    cut = [whole.slice(start, rows) for start in range(0, len(prompts), rows)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap, "SLICE_BYTES", slice_bytes)
        patch.setattr(overlap, "_MATCHES", matches)
        assert pl.concat(overlap.overlap(cut, several[::-1], size=3)).equals(expected)


def test_threads_change_nothing(tmp_path: Path) -> None:
    """The same bytes of a pack and the same rows in processes with one and with two threads."""
    code = (
        "import sys, polars as pl; from pathlib import Path; from deltadata import overlap, packs, ngrams\n"
        "texts = [' '.join(f'w{i * j % 97}é' for j in range(40)) for i in range(3000)]\n"
        "pack = ngrams.build('set', texts[::3]); packs.write(Path(sys.argv[1]), pack)\n"
        "print(pl.concat(overlap.overlap([pl.Series(texts)], [pack])).write_json())"
    )
    told = []
    for threads in ("1", "2"):
        path = tmp_path / f"{threads}.pack"
        environment = os.environ | {"POLARS_MAX_THREADS": threads}
        command = [sys.executable, "-c", code, str(path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        told.append((done.stdout, path.read_bytes()))
    assert told[0] == told[1] and len(told[0][0]) > 1000


# The report


def test_the_report_counts_prompts_and_items() -> None:
    """By hand: two pools against two packs; an item that two prompts have is one item; examples name no text."""
    prompts = [ITEM_TEXT, OTHER, "nothing of it", ITEM_TEXT.upper(), f"{OTHER} {ITEM_TEXT}", " ".join(WORDS[:9])]
    several = [build("sheep", [SHORT, ITEM_TEXT]), build("clocks", [OTHER, SHORT, SHORT])]
    hits = pl.concat(overlap.overlap([pl.Series(prompts)], several))
    facts = pl.DataFrame(
        {ROW: range(6), "prompt_id": list("uvwxyz"), "pool": ["p", "p", "p", "q", "q", "q"]},
        schema_overrides={ROW: pl.UInt32},
    )
    told = overlap.report(hits, facts, several, examples=1)
    assert told == {
        "at_least": 0.5,
        "prompts": 6,
        "packs": {
            "clocks": {
                "items": 3,
                "prompts": 2,
                "share": 2 / 6,
                "items_hit": 1,
                "items_share": 1 / 3,
                "examples": [{"prompt_id": "v", "pool": "p", "item": 0, "covered": 1.0}],
            },
            "sheep": {
                "items": 2,
                "prompts": 3,
                "share": 3 / 6,
                "items_hit": 1,
                "items_share": 1 / 2,
                "examples": [{"prompt_id": "u", "pool": "p", "item": 1, "covered": 1.0}],
            },
        },
        "table": {
            "p": {"clocks": {"prompts": 1, "items": 1}, "sheep": {"prompts": 1, "items": 1}},
            "q": {"clocks": {"prompts": 1, "items": 1}, "sheep": {"prompts": 2, "items": 1}},
        },
    }
    assert overlap.strongest(hits).select(ROW, PACK, ITEM).rows() == [
        (0, "sheep", 1),
        (1, "clocks", 0),
        (3, "sheep", 1),
        (4, "clocks", 0),
    ]
    assert json.dumps(told)


# Building


def test_a_pack_is_built_from_rows(tmp_path: Path) -> None:
    """Columns are joined, a list gives an item a text (of messages the user's), a null an item without words."""
    rows: list[dict[str, Any]] = [{"a": "one two", "b": "three", "deep": {"in": "x"}}, {"a": None, "b": "four"}]
    turns = [["one", "two"], [{"role": "user", "content": "three"}, {"role": "assistant", "content": "no"}], "four", []]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "turns.jsonl").write_text("".join(json.dumps({"turns": value}) + "\n" for value in turns))
    sources = [packs.Source("rows.jsonl", ("a", "b")), packs.Source("turns.jsonl", ("turns",))]
    pack = packs.build_pack("set", sources, tmp_path, sizes=(1, 3))
    assert pack.words.tolist() == [3, 1, 1, 1, 1, 1]
    assert sorted(pack.grams[1].hashes.tolist()) == sorted(
        gram_by_hand([word]) for word in ["one", "two", "three", "four", "one", "two", "three", "four"]
    )
    assert [(told["source"], told["columns"], told["items"], len(told["digest"])) for told in pack.sources] == [
        ("rows.jsonl", ["a", "b"], 2, 64),
        ("turns.jsonl", ["turns"], 4, 64),
    ]
    deep = packs.build_pack("deep", [packs.Source(str(tmp_path / "rows.jsonl"), ("deep.in",))])
    assert (deep.words.tolist(), deep.sources[0]["source"]) == ([1, 0], "rows.jsonl")


@pytest.mark.parametrize(
    ("content", "column", "what"),
    [
        ('{"a": "x"}\n', "b", "no row has a column 'b'"),
        ('{"a": "x"}\n{"a": \n', "a", "not JSON"),
        ('{"a": 3}\n', "a", "neither text nor a list of texts but int"),
        ('{"a": [["x"]]}\n', "a", "neither text nor a list of texts but list"),
        ('{"a": "..."}\n', "a", "no words in a"),
    ],
)
def test_rows_that_make_no_pack_are_refused(tmp_path: Path, content: str, column: str, what: str) -> None:
    """A missing column, an unreadable row, another type, no words."""
    (tmp_path / "rows.jsonl").write_text(content)
    with pytest.raises(UserError, match=what):
        packs.build_pack("set", [packs.Source("rows.jsonl", (column,))], tmp_path)


def test_packs_are_found_by_name_or_path(tmp_path: Path) -> None:
    """NAME is NAME.pack beside the recipe; one that is not there is refused with the command that builds it."""
    packs.write(tmp_path / "mine.pack", build("mine", ["x"]))
    paths = ["mine", "mine.pack", str(tmp_path / "mine.pack")]
    assert [pack.name for pack in packs.open_packs(paths, tmp_path)] == ["mine"] * 3
    with pytest.raises(UserError, match="`deltadata pack build gsm8k` makes it") as met:
        packs.open_packs(["gsm8k"], tmp_path)
    assert met.value.where == "gsm8k"
    with pytest.raises(UserError, match="did you mean 'gsm8k'"):
        packs.open_packs(["gms8k"], tmp_path)


def test_the_papers_benchmarks_can_be_built_by_name() -> None:
    """The eleven, AlpacaEval among them, MT-Bench and Arena-Hard: addresses that hold, and columns."""
    known = packs.shipped()
    others = {"gsm8k", "math", "bbh", "drop", "mmlu", "popqa", "truthfulqa", "humaneval", "humaneval_plus", "ifeval"}
    assert set(known) == others | {"alpaca_eval", "mt_bench", "arena_hard"}
    from deltadata import hub

    for source in [source for sources in known.values() for source in sources]:
        assert source.columns and hub._spec(source.path)["split"]


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no {DATA}")
def test_real_sets_against_each_other() -> None:
    """MT-Bench's first question is in AlpacaEval; every prompt of a set is found by the set's own pack."""
    alpaca = packs.Source(str(DATA / "alpaca_eval" / "gemma-2b-it.json"), ("instruction",))
    mt_bench = packs.Source(str(DATA / "mt_bench" / "question.jsonl"), ("turns",))
    several = [packs.build_pack("alpaca_eval", [alpaca]), packs.build_pack("mt_bench", [mt_bench])]
    assert [len(pack.words) for pack in several] == [805, 160]
    prompts = pl.Series([row["instruction"] for row in json.loads(Path(alpaca.path).read_text())])
    for size in (8, 13):
        rows = pl.concat(overlap.overlap([prompts], several, size)).filter(overlap.contaminated())
        own = rows.filter((pl.col(PACK) == "alpaca_eval") & (pl.col(COVERED) == 1))
        assert own.height == 805
        assert (801, 0) in rows.filter(pl.col(PACK) == "mt_bench").select(ROW, ITEM).rows()
        assert rows.filter(pl.col(PACK) == "mt_bench").height < 5


def test_hashes_do_not_collide_on_many_like_words() -> None:
    """A million short numbers and letter combinations have as many hashes."""
    words = [str(i) for i in range(700_000)] + [
        f"{a}{b}{c}{d}"
        for a in "abcdefghijklmnopqrst"
        for b in "abcdefghijklmnopqrst"
        for c in "abcdefghijklmnopqrst"
        for d in "abcdefghijklmnopqrst"
    ]
    assert len(np.unique(ngrams.hashed(pl.Series(words)).words)) == len(words)
