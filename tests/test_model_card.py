"""The card of a student says facts of its training, its licence included, and nothing from outside breaks its page.

pytest tests/test_model_card.py
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from jinja2 import UndefinedError
from markdown_it import MarkdownIt

from deltadata import model_card
from deltadata.sections import Train

TOLD: dict[str, Any] = {
    "student": {"told": "models/own", "path": "models/own", "revision": None, "digest": "d1", "licence": "apache-2.0"},
    "dataset": {"told": "runs/x", "repo": None, "commit": None, "digest": "d2", "licence": "qwen-research"},
    "deltas": [{"chosen": "strong", "rejected": "weak", "pairs": 12, "deltas": {"checks": 0.25}}],
    "rows": {"train": 12, "test": 3},
    "steps": 4,
    "devices": 1,
    "arguments": {"beta": 5.0, "loss_type": ["sigmoid_norm"]},
    "lora": None,
    "first": {"loss": 0.693147, "margin": 0.0, "accuracy": 0.0},
    "last": {"loss": 0.25, "margin": 1.5, "accuracy": 1.0},
    "held_out": {"eval_loss": 0.5, "eval_margin": 0.75, "eval_accuracy": 0.875},
    "preflight": {
        "pairs": 12,
        "max_length": 2048,
        "tokens": {"prompt": 100, "chosen": 200, "rejected": 150},
        "counts": {},
        "delta": {"before": 4.0, "after": 4.0},
    },
}  # fmt: skip
HOSTILE = [
    "<script>alert(1)</script>",
    "| a | b",
    "{{ 7 * 7 }}",
    "[x](javascript:1)",
    "---\nlicense: mit",
    "``` ../../x",
]


def card(**changes: Any) -> str:
    told = TOLD | changes
    return model_card.render(model_card.facts("tiny", Train(student="s"), 0, told, 90.0))


def test_its_numbers_are_those_of_the_training():
    """Losses, margins, rows, steps, minutes and deltas, each where a reader looks for it."""
    page = card()

    for said in (
        "| pairs | 12 to train on, 3 held out |",
        "| steps | 4 of 32 pairs, on 1 process, 1.5 minutes |",
        "| strong | weak | 12 | 0.25 |",
        "| first step | 0.6931 | 0 | 0 |",
        "| last step | 0.25 | 1.5 | 1 |",
        "| held out, before | 0.6931 | 0 | - |",
        "| held out, after | 0.5 | 0.75 | 0.875 |",
        '| loss\\_type | ["sigmoid\\_norm"] |'.replace("[", "\\[").replace("]", "\\]"),
    ):
        assert said in page, said
    assert "None" not in page and "More Information Needed" not in page


def test_the_more_restrictive_licence_of_student_and_data():
    """With what is known of each; where one is not known none is proposed, in header and page."""
    page = card()
    header = ModelCard(page).data.to_dict()
    assert (header["license"], header["license_name"]) == ("other", "qwen-research")
    assert "| student | models/own | apache-2.0 |" in page

    unknown = card(dataset=TOLD["dataset"] | {"licence": None})
    assert "license" not in ModelCard(unknown).data.to_dict()
    assert "None is proposed" in unknown and "| dataset | runs/x | not known |" in unknown


def test_a_hub_student_and_dataset_stand_in_the_header():
    """base_model and datasets, so that the Hub links them; local folders are not passed off as ids."""
    student = TOLD["student"] | {"told": "org/model", "path": "org/model", "revision": "c" * 40, "licence": None}
    data = TOLD["dataset"] | {"told": "me/pairs", "repo": "me/pairs", "commit": "e" * 40}
    header = ModelCard(card(student=student, dataset=data)).data.to_dict()

    assert (header["base_model"], header["datasets"]) == ("org/model", ["me/pairs"])
    assert not {"base_model", "datasets"} & set(ModelCard(card()).data.to_dict())


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_outside_stays_text(text: str):
    """In names and arguments it opens no tag, cell, link, header or template."""
    page = card(
        student=TOLD["student"] | {"told": text},
        dataset=TOLD["dataset"] | {"told": text},
        arguments={"beta": text},
    )

    tokens = MarkdownIt("commonmark").enable("table").parse(page.split("---\n", 2)[2])
    kinds = [token.type for token in tokens] + [one.type for token in tokens for one in token.children or []]
    plain = MarkdownIt("commonmark").enable("table").parse(card(arguments={"beta": "x"}).split("---\n", 2)[2])
    wanted = [token.type for token in plain] + [one.type for token in plain for one in token.children or []]
    assert [kind for kind in kinds if kind != "text"] == [kind for kind in wanted if kind != "text"]
    assert "49" not in page.replace("c4" * 9, "") or "7 * 7" not in text
    assert yaml.safe_load(page.split("---\n")[1]).get("license") == "other"


def test_a_missing_fact_is_an_error():
    """The page never has an empty place."""
    with pytest.raises((UndefinedError, TypeError)):
        card(first={})
