"""The dataset card says facts of the run, has no empty place, and nothing from outside can break its page.

pytest tests/test_card.py       (cards/example is a copy of a real run; `make card` renews it)
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from card_facts import (
    FACTS,
    FEATURES,
    HOSTILE,
    NO_STATS,
    PLACES,
    RUNG_FEATURES,
    TOLD,
    body_of,
    facts,
    header_of,
    html_of,
    table_rows,
    tags,
    told,
    with_first,
    words_of,
)
from huggingface_hub import DatasetCard, DatasetCardData
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from ladder import LENGTHS, do, small_run, write_sources

from deltadata import card, figures, tables
from deltadata.header import header
from deltadata.markdown import inert
from deltadata.pair_sections import ByScore
from deltadata.recipe import Recipe, load
from deltadata.store import Entry, read_record
from deltadata.templates import folder

EXAMPLE = folder() / "example"


def test_the_card_says_every_fact() -> None:
    """Rungs, scorers, pairings, magnitudes, the funnel, pools and licences stand as rows of tables, as given."""
    rows = table_rows(card.render(facts()))
    sampling = "temperature 0.0, max_tokens 256, samples 1"
    model = "[org/Model_1-3B](https://huggingface.co/org/Model_1-3B)"
    for expected in (
        ["strong over weak", "70", "+0.50", "65 % (60–70 %)", "−3", "40 %"],
        ["`prompt`", "list of {role, content}", "the conversation"],
        ["`delta_tokens`", "length in tokens"],
        ["`response`", "string", "the answer"],
        ["strong", model, "abc123", "3,000,000", "some-research"],
        ["strong", "vllm 0.30", sampling, "template 1234, no system turn"],
        ["strong", "1,100", "1", "20 (18 %)", "55,000", "50", "1,234"],
        ["scorer", "source", "responses scored", "strong"],
        ["judge", "a judge's ratings from 1 to 10 on honesty", "9 of 21", "0.1235"],
        ["judge", "[org/Judge_7B](https://huggingface.co/org/Judge_7B)", "def456", "vllm 0.31", "mit"],
        ["chosen", "rejected", "pairs", "kept", "judge", "tokens"],
        ["strong", "weak", "100", "70", "+0.12 (0)", "−3.25 (–)"],
        # n, mean, sd, median, the two ranges, above 0, at 0, agreement: over the kept pairs, over all of them.
        ["strong over weak", "40", "+0.50", "1.50", "+1", "+0.75 to +1.25", "+0.55 to +1.45", "60 %", "10 %"]
        + ["65 % (60–70 %)"],
        ["strong over weak", "90", "+2", "1.50", "+2.50", "+2.25 to +2.75", "+2.05 to +2.95", "50 %", "25 %"]
        + ["62 % (57–68 %)"],
        ["strong over weak", "identity", "70", "+0.10", "1.50", "+0.60", "10 %", "90 %"],
        ["not_empty", "0", "100", "+0.25", "+0.25", "55 %", "55 %"],
        ["finished", "30", "70", "+0.25", "+0.50", "55 %", "65 %"],
        ["own", "pool.jsonl", "not known", "1,400", "1", "duplicate 2, contaminated 1", "100", "70"],
        ["gsm", "90", "1 (7.7 %)", "2", "1"],
        ["responses/strong", "org/Model_1-3B", "[some-research](https://example.com/licence)", "non-commercial"]
        + ["known of org/Model_1-3B", "for study alone"],
        ["prompts/own", "pool.jsonl", "not known", "unknown", "not known", "not accepted"],
    ):
        assert expected in rows


def test_the_card_says_it_in_words_too() -> None:
    """What is loaded, trained, cited and rebuilt; what to beware of; what the report found; notices."""
    text = card.render(facts())
    for said in (
        "# tiny\n\n70 preference pairs",
        "kept of 100 pairs over 90 prompts",
        "deltadata 9.8.7",
        "> **Built with Model**\n",
        'load_dataset("me/delta-pairs")              # train: 60 rows, test: 10 rows\n',
        'load_dataset("me/delta-pairs", "ladder")   # every response of every rung: 210 rows\n',
        'loss_type="sigmoid_norm", beta=5.0',
        'train_dataset=pairs["train"],\n    eval_dataset=pairs["test"],\n',
        'pl.scan_parquet("hf://datasets/me/delta-pairs/data/default/*.parquet")',
        "the first 12.5 % of all ids",
        "**Beware:**\n\n- **Length.** Chosen is longer in 40 %.\n",
        "## Known limits and biases\n\nThe warnings at the top come first. Beside them:\n\n- **Gain.** Not promised.\n",
        "- judge agrees with the ladder in 65 %.\n",
        "- **judge**: 2 judgements have no verdict\\: refused 2. It read 12 tokens and wrote 3.\n",
        "![Histograms of judge.](plots/deltas.png)\n",
        "Control: none.",
        "100 pairs before, 70 kept. 4 prompts have no pair: a rung has no answer to them.\n",
        "The recipe puts the dataset under **cc-by-4.0**; of its parts deltadata would propose some-research.\n",
        "- responses/strong: Say who made it.\n",
        "https://arxiv.org/abs/2507.06187",
        "pip install 'deltadata-toolkit[vllm,report]'\n",
        "deltadata pull me/delta-pairs ",
        "deltadata verify me/delta-pairs ",
        "deltadata run recipe.yaml",
        "@misc{tiny,\n",
        "content 0123456789abcdef}",
        "year         = {2026},\n  url          = {https://huggingface.co/datasets/me/delta-pairs}\n}",
    ):
        assert said in text, said


def test_a_dataset_without_a_repository_is_loaded_from_its_folder() -> None:
    """No command names a repository that there is not, and the examples say where to put the path."""
    text = card.render(facts(repo=None))
    assert 'load_dataset("path/to/dataset")' in text
    assert 'pl.scan_parquet("path/to/dataset/data/default/*.parquet")' in text
    for gone in ("deltadata pull", "deltadata verify", "hf://", "huggingface.co/datasets"):
        assert gone not in text


def test_the_licence_of_the_whole_is_told() -> None:
    """Stated, proposed, or neither because a part is unknown: each in a sentence of its own."""
    licence = copy.deepcopy(FACTS["licence"]) | {"stated": None}
    assert "Proposed for the whole: **some-research**" in card.render(facts(licence=licence))
    nothing = licence | {"proposed": None}
    assert "No licence is proposed for the whole" in card.render(facts(licence=nothing))
    stated = licence | {"stated": "mit", "proposed": None}
    assert "would propose none, since one is not known." in card.render(facts(licence=stated))
    quiet = card.render(facts(licence=nothing | {"notices": [], "parts": []}))
    assert not re.search(r"^>", quiet, re.MULTILINE)


def test_the_examples_are_python() -> None:
    """Every block compiles, with and without a repository, a test split or pictures."""
    for changes in ({}, {"repo": None}, {"splits": FACTS["splits"][:1], "plots": []}):
        blocks = re.findall(r"```python\n(.*?)```", card.render(facts(**changes)), re.DOTALL)
        assert len(blocks) == 3
        for block in blocks:
            compile(block, "card", "exec")


def test_every_table_has_as_many_cells_as_its_head() -> None:
    """Several rungs, scorers, pairings and pools make several rows, each as wide as its table."""
    many = {name: [*FACTS[name], *FACTS[name]] for name in ("rungs", "scorers", "pairings", "pools")}
    more = told(pairings=TOLD["pairings"] * 9)
    changed = facts(**many, told=more, magnitudes=figures.magnitudes(more))
    blocks = re.findall(r"(?:^\|.*\n)+", body_of(card.render(changed)), re.MULTILINE)
    shapes = [[len(row) for row in table_rows(block)] for block in blocks]
    columns_of = [[6] * 10, [3] * 4, [2] * 3, [3] * 3, [5] * 4, [4] * 4, [7] * 4, [5] * 4, [5] * 4, [6] * 4]
    magnitudes = [[10] * 11] * 4
    assert shapes == [*columns_of, *magnitudes, [8] * 10, [7] * 4, [8] * 4, [5] * 3, [6] * 4]
    assert "The first 8 of 9 pairings" in card.render(changed)
    assert html_of(card.render(changed)).count("<table>") == len(shapes)


def test_the_card_has_no_empty_place(tmp_path: Path) -> None:
    """A card of a real run, with an imported rung and unknown token counts, has no placeholder and no None."""
    write_sources(tmp_path)
    do(tmp_path / "run", small_run())
    text = (tmp_path / "run" / "dataset" / "README.md").read_text()
    body = body_of(text)
    assert not re.search(r"None|\bnan\b|undefined|More Information|TODO|\{\{|\}\}|\{%|\|[ \t]*\|", body)
    rows = table_rows(text)
    assert ["frail", "imported", "as imported", "as imported"] in rows
    assert ["frail", "24", "0", "unknown", "–", "–"] in [row[:6] for row in rows]
    assert [row[1:] for row in rows if row[:2] == ["responses/frail", "frail.jsonl"]] == [
        ["frail.jsonl", "not known", "unknown", "not known", "not accepted"]
    ]
    assert [row[:2] for row in rows if row[0] in ("strong", "middle") and row[1] in ("middle", "frail")] == [
        ["strong", "middle"],
        ["strong", "frail"],
        ["middle", "frail"],
    ]
    assert "\n\n\n" not in body.replace("\n\n\n##", "\n\n##")


@pytest.mark.parametrize("missing", sorted(FACTS))
def test_a_fact_that_is_missing_is_an_error(missing: str) -> None:
    """No card is written around a hole: every fact is asked for."""
    without = {name: value for name, value in facts().items() if name != missing}
    with pytest.raises((UndefinedError, KeyError), match=missing):
        card.render(without)


@pytest.mark.parametrize(
    ("table", "field"),
    [
        *(("rungs", field) for field in FACTS["rungs"][0]),
        *(("scorers", field) for field in FACTS["scorers"][0]),
        *(("pairings", field) for field in FACTS["pairings"][0]),
        *(("pools", field) for field in FACTS["pools"][0] if field != "asked"),
        *(("licence.parts", field) for field in FACTS["licence"]["parts"][0] if field not in ("role", "notices")),
        *(("limits", field) for field in ("what", "text", "level")),
        *(("plots", field) for field in ("path", "seen")),
    ],
)
def test_a_cell_that_is_missing_is_an_error(table: str, field: str) -> None:
    """The same holds for the fields of a row."""
    changed = with_first(table)
    place: Any = changed
    for key in table.split("."):
        place = place[key]
    del place[0][field]
    with pytest.raises((UndefinedError, KeyError), match=field):
        card.render(changed)


@pytest.mark.parametrize("text", HOSTILE)
def test_strings_from_outside_are_inert(text: str) -> None:
    """Wherever it stands, such a string stays in its cell, is no markup, no element, no template and no header."""
    plain = card.render(facts())
    for table, field in PLACES:
        hostile = card.render(with_first(table, **{field: text}))
        assert len(hostile.splitlines()) == len(plain.splitlines())
        assert [len(row) for row in table_rows(hostile)] == [len(row) for row in table_rows(plain)]
        assert header_of(hostile) == header_of(plain)
        assert tags(hostile) == tags(plain), (table, field)
        assert "49" not in set(words_of(hostile).split()) - set(words_of(plain).split())
        if (table, field) != ("plots", "seen"):  # an attribute, which is no text of the page
            assert " ".join(text.split()) in words_of(hostile)


@pytest.mark.parametrize("field", sorted(FACTS["scorers"][0]["model"]))
def test_a_cell_of_a_scoring_model_that_is_missing_is_an_error(field: str) -> None:
    """And of the rows of its model."""
    changed = facts()
    del changed["scorers"][0]["model"][field]
    with pytest.raises((UndefinedError, KeyError), match=field):
        card.render(changed)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_said_of_a_scorer_is_inert(text: str) -> None:
    """Reasons that a server gave, names of models, their licence as the Hub has it."""
    plain, changed = card.render(facts()), facts()
    changed["scorers"][0]["said"][0] = text
    changed["scorers"][0]["model"] |= {"link": None, "model": text, "revision": text, "engine": text, "license": text}
    hostile = card.render(changed)
    gone = [tag for tag in tags(plain) if tag not in tags(hostile)]
    assert gone == [] and len(tags(plain)) == len(tags(hostile)) + 1, "the link alone"
    assert header_of(hostile) == header_of(plain)
    assert words_of(hostile).count(" ".join(text.split())) >= 5


def test_scorers_without_a_model_have_no_table_of_models() -> None:
    """Checks, files and mixtures: a mixture is told of in a sentence, the others in none."""
    bare = FACTS["scorers"][0] | {"model": None, "said": []}
    text = card.render(facts(scorers=[bare, bare | {"name": "both", "said": ["Weights."]}]))
    assert ["scorer", "model", "revision", "engine", "licence"] not in table_rows(text)
    assert "mean scores.\n\n- **both**: Weights.\n\n## Pairings" in text
    assert "mean scores.\n\n## Pairings" in card.render(facts(scorers=[bare]))


@pytest.mark.parametrize("text", HOSTILE)
def test_notices_conditions_and_a_stated_licence_are_inert(text: str) -> None:
    """They come from a data file and the recipe, and are text all the same."""
    plain, changed = card.render(facts()), facts()
    changed["licence"] |= {"stated": text, "proposed": text, "notices": [text]}
    changed["licence"]["parts"][0]["conditions"] = (text,)
    hostile = card.render(changed)
    assert tags(hostile) == tags(plain)
    assert header_of(hostile) == header_of(plain)
    assert words_of(hostile).count(" ".join(text.split())) >= 4


def test_inert_text_is_still_read_as_itself() -> None:
    """Markdown shows the characters that were given; white space is one space; what an eye would miss is marked."""
    assert inert("a_b/c-d.e:f") == "a\\_b/c-d.e\\:f"
    assert inert(" two\n  lines ") == "two lines"
    assert inert("a|b*c") == r"a\|b\*c"
    assert inert("\\|") == r"\\\|"
    assert inert("- no item") == "\\- no item"
    assert inert("12. no item") == "12\\. no item"
    assert inert("a\u202eb") == "a‹U+202E›b"


@given(st.text(st.characters(blacklist_categories=["Cc", "Cf", "Cs", "Co", "Cn"])))
def test_any_text_is_inert(text: str) -> None:
    """In a paragraph and in a cell: no element but that of the place, and its own words."""
    flat = " ".join(text.split())
    for before, after in (("x ", ""), ("| h |\n|---|\n| ", " |\n")):
        page = f"{before}{inert(text)}{after}"
        assert [tag for tag, _ in tags(page)] == [tag for tag, _ in tags(f"{before}y{after}")]
        assert flat in words_of(page)


def test_a_hostile_name_stays_a_name_in_the_header() -> None:
    """YAML in the recipe's name or a repo id is a string there, and in the page it is inert."""
    text = card.render(facts(name="x: [1]\nlicense: mit", repo='me/"); import os\n# <b>'))
    assert header_of(text)["pretty_name"] == "x: [1]\nlicense: mit"
    assert header_of(text)["license"] == "cc-by-4.0"
    assert "# x\\: \\[1\\] license\\: mit\n" in text
    assert "b" not in [tag for tag, _ in tags(text)]


def test_the_header_tells_configs_columns_sizes_and_content() -> None:
    """Languages by share, licence, paths of every split, columns, sizes, and a digest that follows the files."""
    expected = {
        "pretty_name": "tiny",
        "language": ["en", "fr"],
        "license": "cc-by-4.0",
        "task_categories": ["text-generation"],
        "tags": ["dpo", "preference", "synthetic", "trl", "deltadata", "delta-learning"],
        "size_categories": ["n<1K"],
        "source_datasets": ["owner/prompts"],
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
                "features": FEATURES,
                "splits": [
                    {"name": "train", "num_bytes": 600, "num_examples": 60},
                    {"name": "test", "num_bytes": 100, "num_examples": 10},
                ],
                "download_size": 70,
                "dataset_size": 700,
            },
            {
                "config_name": "ladder",
                "description": "content 74d140fdaf5e0090",
                "features": RUNG_FEATURES,
                "splits": [{"name": "train", "num_bytes": 900, "num_examples": 210}],
                "download_size": 90,
                "dataset_size": 900,
            },
        ],
    }
    assert header_of(card.render(facts())) == expected


def test_what_is_not_known_has_no_key() -> None:
    """No language that was not measured, no source that is no Hub dataset, no licence where a part has none."""
    licence = FACTS["licence"] | {"header": {}}
    for languages in (None, {}, {"en": 0.04}):
        found = yaml.safe_load(header(facts(languages=languages, sources=[], licence=licence)))
        assert not {"language", "source_datasets", "license"} & found.keys()


def test_other_files_give_another_header() -> None:
    """`datasets` keys its cache by the header, so any changed file has to change it, counts being equal."""
    headers = {header(facts())}
    for place in range(3):
        changed = facts()
        changed["splits"][place]["digest"] = "other"
        headers.add(header(changed))
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
    assert yaml.safe_load(header(facts(splits=splits)))["size_categories"] == [category]


def test_the_hub_library_takes_the_header() -> None:
    """huggingface_hub reads the card without complaint, finds the same data in it, and writes it back the same."""
    text = card.render(facts())
    read = DatasetCard(text).data
    assert isinstance(read, DatasetCardData)
    assert read.to_dict() == header_of(text)
    assert (read.pretty_name, read.size_categories) == ("tiny", ["n<1K"])
    assert DatasetCardData(**header_of(text)).to_dict() == header_of(text)
    assert yaml.safe_load(read.to_yaml()) == header_of(text)


@given(st.text(), st.text(min_size=1))
def test_any_text_in_the_header_comes_back(name: str, licence: str) -> None:
    """Dashes, colons, breaks and controls in a name or a licence: the Hub's library reads what was given."""
    held = FACTS["licence"] | {"header": {"license": "other", "license_name": licence}}
    found = yaml.safe_load(header(facts(name=name, licence=held)))
    assert (found["pretty_name"], found["license_name"]) == (name, licence)
    read = DatasetCard(f"---\n{header(facts(name=name, licence=held))}---\n\nbody\n").data
    assert read.to_dict()["configs"] == found["configs"]


def test_no_test_split_is_announced_where_there_is_none() -> None:
    """A share that happens to hold no prompt makes no split, and the card says nothing of one."""
    without = card.render(facts(splits=[split for split in FACTS["splits"] if split["split"] != "test"]))
    assert "The split `test`" not in without and "eval_dataset" not in without
    assert "The split `test`" in card.render(facts())


def test_scores_stand_beside_their_rungs() -> None:
    """The mean of each rung in its own column, a dash where none of its responses has one; no scorer, no table."""
    rungs = [FACTS["rungs"][0] | {"name": name} for name in ("strong", "middle", "weak")]
    scorers = [FACTS["scorers"][0] | {"means": {"weak": -0.5, "strong": 2.0, "middle": None}}]
    rows = table_rows(card.render(facts(rungs=rungs, scorers=scorers)))
    assert ["scorer", "source", "responses scored", "strong", "middle", "weak"] in rows
    assert ["judge", FACTS["scorers"][0]["source"], "9 of 21", "2", "–", "-0.5"] in rows
    assert "## Scores" not in card.render(facts(scorers=[]))


def test_without_a_scorer_the_glance_is_of_lengths() -> None:
    """No agreement is shown where nothing judges; an unknown figure is a dash."""
    bare = told(lead="tokens", scorers=[], findings=[])
    for rule in bare["funnel"]:
        rule |= {when: {"tokens": {"mean": None, "agreement": None}} for when in ("delta_before", "delta_after")}
    text = card.render(facts(told=bare, scorers=[]))
    rows = table_rows(text)
    assert rows[0] == ["chosen over rejected", "pairs", "mean delta of tokens", "chosen longer"]
    assert ["finished", "30", "70", "–", "–", "–", "–"] in rows
    assert "What the report of the run found" not in text
    unscored = told()
    unscored["pairings"][0]["measures_kept"]["judge"] = NO_STATS
    text = card.render(facts(told=unscored, magnitudes=figures.magnitudes(unscored)))
    assert ["strong over weak", "70", "–", "–", "−3", "40 %"] in table_rows(text)
    assert ["strong over weak", "0", *["–"] * 8] in table_rows(text)


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
    assert "stronger rung's" not in text and "No judge" not in text
    assert "the stronger rung's response is `chosen`" in card.render(facts())


def test_facts_of_a_run_fill_the_card(tmp_path: Path) -> None:
    """What `run` hands over has exactly the facts that the card asks for, and its counts are the record's."""
    write_sources(tmp_path)
    asked = [f"What is the number {number}?" for number in range(20)]
    rows = [{"prompt": text, "model": "frail", "score": at % 4} for at, text in enumerate(asked)]
    rows += [{"prompt": asked[0], "model": "strong", "score": None}, {"prompt": "Who?", "model": "strong", "score": 1}]
    (tmp_path / "judge.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = do(tmp_path / "run", small_run(score=[{"name": "judge", "scores": "judge.jsonl"}]))
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    found = card.facts(job.recipe, job.run.record, job.run.record["dataset"].facts, report)
    assert sorted(found) == sorted(FACTS)
    for table in ("rungs", "scorers", "pairings", "pools"):
        assert sorted(found[table][0]) == sorted({**FACTS[table][0]})
    assert found["licence"].keys() - {"of"} == FACTS["licence"].keys()
    assert found["licence"]["parts"][0].keys() - {"part"} == FACTS["licence"]["parts"][0].keys()
    assert found["kept"] + sum(found["funnel"].values()) == found["pairs"]
    assert found["funnel"] == {rule["rule"]: rule["dropped"] for rule in report["funnel"]}
    assert [rung["errors"] for rung in found["rungs"]] == [2, 2, 0]
    means = {"strong": None, "frail": 1.5}
    source = "scores from judge.jsonl"
    scores = {"name": "judge", "source": source, "graded": 20, "of": 120, "means": means}
    assert found["scorers"] == [scores | {"model": None, "said": []}]
    assert found["lead"] == LENGTHS
    assert [part["where"] for part in found["licence"]["parts"]] == [
        "prompts/own",
        *(f"responses/{name}" for name in ("strong", "middle", "frail")),
        "scores/judge",
    ]
    assert found["pools"][0]["kept"] == found["kept"]
    contents = [split["content"] for split in job.run.record["dataset"].facts["splits"]]
    assert len(set(contents)) == 3 and found["digest"] == tables.fingerprint(contents)
    written = (tmp_path / "run" / "dataset" / "README.md").read_text()
    assert again(job.recipe, job.run.record, report) == written
    assert DatasetCard(written).data.to_dict() == header_of(written)


def test_the_recipe_decides_the_licence_and_what_is_accepted(tmp_path: Path) -> None:
    """Its licence is the header's, its reasons stand in the table; the proposal is still said."""
    write_sources(tmp_path)
    push = {"license": "CC BY 4.0", "accept": {"responses/frail": " written by us "}}
    do(tmp_path / "run", small_run(push=push))
    text = (tmp_path / "run" / "dataset" / "README.md").read_text()
    assert header_of(text)["license"] == "cc-by-4.0"
    assert "The recipe puts the dataset under **CC BY 4.0**; of its parts deltadata would propose none" in text
    accepted = {row[0]: row[5] for row in table_rows(text) if len(row) == 6 and "/" in row[0]}
    assert accepted["responses/frail"] == "written by us" and accepted["responses/strong"] == "not accepted"


def again(recipe: Recipe, record: dict[str, Entry], report: dict[str, Any]) -> str:
    """The card once more, from what lies beside it."""
    return card.render(card.facts(recipe, record, record["dataset"].facts, report))


@pytest.mark.skipif(not EXAMPLE.exists(), reason="cards/example is not there")
def test_the_example_is_what_the_template_makes_of_its_run() -> None:
    """cards/example holds a real run of recipes/quickstart.yaml; its card is current, `make card` renews it."""
    _, record = read_record(EXAMPLE)
    report = json.loads((EXAMPLE / "report.json").read_text(encoding="utf-8"))
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    assert again(load(EXAMPLE / "recipe.yaml"), record, report) == text
    for path in re.findall(r"\]\((plots/[^)]+)\)", text):
        assert (EXAMPLE / path).is_file()
