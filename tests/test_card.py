"""The dataset card says facts of the run, has no empty place, and nothing from outside can break its page.

pytest tests/test_card.py
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetCard, DatasetCardData
from jinja2 import UndefinedError
from ladder import LENGTHS, do, small_run, write_sources

from deltadata import card
from deltadata.sections import ByScore

FACTS: dict[str, Any] = {
    "name": "tiny",
    "version": "9.8.7",
    "repo": "me/delta-pairs",
    "kept": 7,
    "pairs": 10,
    "splits": [
        {"config": "default", "split": "train", "rows": 6, "bytes": 600, "file_bytes": 60, "digest": "d1", "files": []},
        {"config": "default", "split": "test", "rows": 1, "bytes": 100, "file_bytes": 10, "digest": "d2", "files": []},
        {"config": "ladder", "split": "train", "rows": 21, "bytes": 900, "file_bytes": 90, "digest": "d3", "files": []},
    ],
    "test_share": 0.125,
    "rungs": [
        {
            "name": "strong",
            "model": "org/Model_1-3B",
            "engine": "vllm 0.30",
            "sampling": "temperature 0.0, max_tokens 256, samples 1",
            "rows": 11,
            "errors": 1,
            "cut_off": 2,
            "license": "apache-2.0",
        }
    ],
    "control": "none",
    "by": None,
    "scorers": [
        {"name": "judge", "source": "scores from judge.csv", "graded": 9, "of": 21, "means": {"strong": 0.123456}}
    ],
    "measures": ["tokens", "characters", "identity"],
    "lead": ["tokens", "characters"],
    "pairings": [
        {
            "chosen": "strong",
            "rejected": "weak",
            "pairs": 10,
            "kept": 7,
            "delta": {"tokens": 12.5, "characters": -3.25, "identity": 0.5},
            "delta_kept": {"tokens": 0.0, "characters": None, "identity": 0.5},
        }
    ],
    "without_pair": 4,
    "without_pair_since": "a rung has no answer to them",
    "funnel": {"not_empty": 0, "finished": 3},
    "pools": [
        {
            "name": "own",
            "path": "pool.jsonl",
            "read": 14,
            "bad": 1,
            "asked": None,
            "dropped": {"duplicate": 2, "contaminated": 1},
            "taken": 10,
        }
    ],
    "ngram": 8,
    "contamination": {
        "at_least": 0.5,
        "prompts": 13,
        "packs": {"gsm": {"items": 90, "prompts": 1, "share": 0.0769, "items_hit": 2, "items_share": 0.022}},
        "table": {"own": {"gsm": {"prompts": 1, "items": 2}}},
    },
}


def facts(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(FACTS) | changes


def with_first(table: str, **changes: Any) -> dict[str, Any]:
    """The facts with changes in the first row of one of their tables."""
    changed = facts()
    changed[table][0] |= changes
    return changed


def header_of(text: str) -> Any:
    """What stands between the first two `---` lines."""
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)[1])  # type: ignore[index]


def table_rows(text: str) -> list[list[str]]:
    """The cells of every table row as they read (`\\_` is an underscore), split at the bars that are not escaped."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip().replace("\\_", "_") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_card_says_every_fact() -> None:
    """Rungs, scorers, pairings with their deltas, the funnel and the pools stand as rows of tables, as given."""
    rows = table_rows(card.render(facts()))
    sampling = "temperature 0.0, max_tokens 256, samples 1"
    for expected in (
        ["strong", "org/Model_1-3B", "vllm 0.30", sampling, "11", "1", "2", "apache-2.0"],
        ["scorer", "source", "responses scored", "strong"],
        ["judge", "scores from judge.csv", "9 of 21", "0.1235"],
        ["chosen", "rejected", "pairs", "kept", "tokens", "characters"],
        ["strong", "weak", "10", "7", "+12.5 (+0)", "-3.25 (-)"],
        ["not_empty", "0"],
        ["finished", "3"],
        ["kept", "7"],
        ["all pairs", "10"],
        ["own", "pool.jsonl", "14", "1", "duplicate 2, contaminated 1", "10"],
        ["gsm", "90", "1 (7.7 %)", "2", "1"],
    ):
        assert expected in rows
    text = card.render(facts())
    for said in (
        "# tiny\n\n7 preference pairs",
        "deltadata 9.8.7",
        'load_dataset("me/delta-pairs")              # train: 6 rows, test: 1 rows\n',
        'load_dataset("me/delta-pairs", "ladder")   # every response of every rung: 21 rows\n',
        "the first 12.5 % of all ids",
        "Control: none.",
        "Measured of every pair: tokens, characters, identity.",
        "4 prompts have no pair: a rung has no answer to them.\n",
        "arXiv 2507.06187",
        "deltadata run recipe.yaml",
    ):
        assert said in text


def test_every_table_has_as_many_cells_as_its_head() -> None:
    """Several rungs, scorers, pairings and pools make several rows, each as wide as its table."""
    many = {name: [*FACTS[name], *FACTS[name]] for name in ("rungs", "scorers", "pairings", "pools")}
    blocks = re.findall(r"(?:^\|.*\n)+", card.render(facts(**many)), re.MULTILINE)
    shapes = [[len(row) for row in table_rows(block)] for block in blocks]
    assert shapes == [[8] * 4, [5] * 4, [6] * 4, [2] * 6, [6] * 4, [5] * 3]


def test_the_card_has_no_empty_place(tmp_path: Path) -> None:
    """A card of a real run, with an imported rung and unknown token counts, has no placeholder and no None."""
    write_sources(tmp_path)
    do(tmp_path / "run", small_run())
    text = (tmp_path / "run" / "dataset" / "README.md").read_text()
    assert not re.search(r"None|nan|undefined|More Information|TODO|\{\{|\}\}|\{%|\|[ \t]*\|", text)
    rows = table_rows(text)
    assert [
        "frail",
        "responses from frail.jsonl",
        "imported",
        "as imported",
        "24",
        "0",
        "unknown",
        "not stated",
    ] in rows
    assert [row[:2] for row in rows if row[0] in ("strong", "middle") and len(row) == 7] == [
        ["strong", "middle"],
        ["strong", "frail"],
        ["middle", "frail"],
    ]
    assert not re.search(r"\n\n\n", text)


@pytest.mark.parametrize("missing", sorted(FACTS))
def test_a_fact_that_is_missing_is_an_error(missing: str) -> None:
    """No card is written around a hole: every fact is asked for."""
    without = {name: value for name, value in facts().items() if name != missing}
    with pytest.raises((UndefinedError, KeyError), match=missing):
        card.render(without)


@pytest.mark.parametrize(
    ("table", "field"), [("rungs", "license"), ("scorers", "graded"), ("pairings", "kept"), ("pools", "bad")]
)
def test_a_cell_that_is_missing_is_an_error(table: str, field: str) -> None:
    """The same holds for the fields of a row."""
    changed = facts()
    del changed[table][0][field]
    with pytest.raises(UndefinedError, match=field):
        card.render(changed)


HOSTILE = [
    "a | b | c",
    "<script>alert(1)</script>",
    "<!-- gone",
    "`code` ```",
    "line\n\n# Heading\n---\nlicense: mit",
    "\r\n| x | y |\u2028| z |",
    "{{ 7 * 7 }}{% for x in y %}{# gone #}",
    "[click](javascript:alert(1)) ![x](http://example.com/x.png)",
    "*bold* **bolder** ~~out~~",
    "\\| already escaped",
    "- {pretty_name: &a [*a, !!python/object]}: '\"",
]
PLACES = [
    ("rungs", "name"),
    ("rungs", "model"),
    ("rungs", "engine"),
    ("rungs", "sampling"),
    ("rungs", "license"),
    ("scorers", "name"),
    ("scorers", "source"),
    ("pairings", "chosen"),
    ("pairings", "rejected"),
    ("pools", "name"),
    ("pools", "path"),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_strings_from_outside_are_inert(text: str) -> None:
    """Wherever it stands, such a string stays in its cell, is no markup, no template and no header."""
    plain = card.render(facts())
    for table, field in PLACES:
        hostile = card.render(with_first(table, **{field: text}))
        assert len(hostile.splitlines()) == len(plain.splitlines())
        assert [len(row) for row in table_rows(hostile)] == [len(row) for row in table_rows(plain)]
        assert header_of(hostile) == header_of(plain)
        lines = set(hostile.splitlines()) - set(plain.splitlines())
        # A rung heads a column of the scores as well, in whose rows this name has no mean.
        assert len(lines) == (3 if (table, field) == ("rungs", "name") else 1)
        for line in lines:
            assert not re.search(r"(?<!\\)(?:\\\\)*[`*<>\[\]{}#!~]", line)
            assert "49" not in line


def test_inert_text_is_still_read_as_itself() -> None:
    """Markdown shows the characters that were given; white space is one space."""
    assert card.inert("a_b/c-d.e:f") == "a\\_b/c-d.e:f"
    assert card.inert(" two\n  lines ") == "two lines"
    assert card.inert("a|b*c") == r"a\|b\*c"
    assert card.inert("\\|") == r"\\\|"


def test_a_hostile_name_stays_a_name_in_the_header() -> None:
    """YAML in the recipe's name or a repo id is a string there, and in the page it is inert."""
    text = card.render(facts(name="x: [1]\nlicense: mit", repo='me/"); import os\n# <b>'))
    header = header_of(text)
    assert header["pretty_name"] == "x: [1]\nlicense: mit"
    assert "license" not in header
    assert "# x: \\[1\\] license: mit\n" in text
    assert "<b>" not in text


def test_the_header_tells_configs_sizes_and_content() -> None:
    """Paths of every split, the default config, sizes, and a digest that follows the files."""
    expected = {
        "pretty_name": "tiny",
        "task_categories": ["text-generation"],
        "tags": ["dpo", "preference", "synthetic", "trl", "deltadata", "delta-learning"],
        "size_categories": ["n<1K"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": "data/default/train-*.parquet"},
                    {"split": "test", "path": "data/default/test-*.parquet"},
                ],
                "default": True,
            },
            {"config_name": "ladder", "data_files": [{"split": "train", "path": "data/ladder/train-*.parquet"}]},
        ],
        "dataset_info": [
            {
                "config_name": "default",
                "description": "content 16d8e8df132660fe",
                "splits": [
                    {"name": "train", "num_bytes": 600, "num_examples": 6},
                    {"name": "test", "num_bytes": 100, "num_examples": 1},
                ],
                "download_size": 70,
                "dataset_size": 700,
            },
            {
                "config_name": "ladder",
                "description": "content 74d140fdaf5e0090",
                "splits": [{"name": "train", "num_bytes": 900, "num_examples": 21}],
                "download_size": 90,
                "dataset_size": 900,
            },
        ],
    }
    assert header_of(card.render(facts())) == expected


def test_other_files_give_another_header() -> None:
    """`datasets` keys its cache by the header, so any changed file has to change it, counts being equal."""
    headers = {card.header(facts())}
    for place in range(3):
        changed = facts()
        changed["splits"][place]["digest"] = "other"
        headers.add(card.header(changed))
    assert len(headers) == 4


@pytest.mark.parametrize(
    ("rows", "category"),
    [
        (1, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (99_999, "10K<n<100K"),
        (100_000, "100K<n<1M"),
        (9_999_999, "1M<n<10M"),
        (10_000_000, "n>10M"),
    ],
)
def test_size_categories_are_the_hubs(rows: int, category: str) -> None:
    """The number of all rows falls into one category."""
    splits = [FACTS["splits"][0] | {"rows": rows}]
    assert yaml.safe_load(card.header(facts(splits=splits)))["size_categories"] == [category]


def test_the_hub_library_takes_the_header() -> None:
    """huggingface_hub reads the card without complaint and finds the same data in it."""
    text = card.render(facts())
    read = DatasetCard(text).data
    assert isinstance(read, DatasetCardData)
    assert read.to_dict() == header_of(text)
    assert (read.pretty_name, read.size_categories) == ("tiny", ["n<1K"])


def test_an_unknown_mean_is_a_dash() -> None:
    """Numbers carry their sign; what could not be measured is a dash."""
    assert [card.number(value) for value in (0.0, 12.3456, -0.00012346, 1234567.0, None)] == [
        "+0",
        "+12.35",
        "-0.0001235",
        "+1.235e+06",
        "-",
    ]


def test_no_test_split_is_announced_where_there_is_none() -> None:
    """A share that happens to hold no prompt makes no split, and the card says nothing of one."""
    without = facts(splits=[split for split in FACTS["splits"] if split["split"] != "test"])
    assert "The split `test`" not in card.render(without)
    assert "The split `test`" in card.render(facts())


def test_scores_stand_beside_their_rungs() -> None:
    """The mean of each rung in its own column, a dash where none of its responses has one; no scorer, no table."""
    rungs = [FACTS["rungs"][0] | {"name": name} for name in ("strong", "middle", "weak")]
    scorers = [FACTS["scorers"][0] | {"means": {"weak": -0.5, "strong": 2.0, "middle": None}}]
    rows = table_rows(card.render(facts(rungs=rungs, scorers=scorers)))
    assert ["scorer", "source", "responses scored", "strong", "middle", "weak"] in rows
    assert ["judge", "scores from judge.csv", "9 of 21", "2", "-", "-0.5"] in rows
    assert "## Scores" not in card.render(facts(scorers=[]))


@pytest.mark.parametrize(
    ("pick", "control", "said"),
    [
        ("max_min", "none", "that with the lowest is `rejected`."),
        ("max_random", "none", "one of a lower score, drawn by the seed, is `rejected`."),
        ("max_min", "reversed", "that with the lowest is `rejected`; then turned round: a CONTROL."),
        ("max_min", "random", "that with the lowest is `rejected`; then turned round by a coin: a CONTROL."),
    ],
)
def test_pairs_by_score_are_told_as_such(pick: Any, control: str, said: str) -> None:
    """Which scorer chose, how the rejected side was picked, and no word of a stronger rung or of no judge."""
    text = card.render(facts(by=ByScore(by="judge", pick=pick), control=control))
    assert f"the response with the highest score by `judge` is `chosen`, {said}\n" in text
    assert "stronger rung" not in text and "No judge" not in text
    assert "the stronger rung's response is `chosen`" in card.render(facts())


def test_facts_of_a_run_fill_the_card(tmp_path: Path) -> None:
    """What `run` hands over has exactly the facts that the card asks for, and its counts are the record's."""
    write_sources(tmp_path)
    asked = [f"What is the number {number}?" for number in range(20)]
    rows = [{"prompt": text, "model": "frail", "score": at % 4} for at, text in enumerate(asked)]
    rows += [{"prompt": asked[0], "model": "strong", "score": None}, {"prompt": "Who?", "model": "strong", "score": 1}]
    (tmp_path / "judge.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = do(tmp_path / "run", small_run(score=[{"name": "judge", "scores": "judge.jsonl"}]))
    told = card.facts(job.recipe, job.run.record, [])
    assert sorted(told) == sorted(FACTS)
    for table in ("rungs", "scorers", "pairings", "pools"):
        assert sorted(told[table][0]) == sorted(FACTS[table][0])
    assert told["kept"] + sum(told["funnel"].values()) == told["pairs"]
    assert [rung["errors"] for rung in told["rungs"]] == [2, 2, 0]
    means = {"strong": None, "frail": 1.5}
    source = "scores from judge.jsonl"
    assert told["scorers"] == [{"name": "judge", "source": source, "graded": 20, "of": 120, "means": means}]
    assert (told["measures"], told["lead"]) == ([*LENGTHS, "judge"], LENGTHS)
