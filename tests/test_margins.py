"""Log-probs of answers against plain torch, one token at a time, and against TRL's own; margins by hand.

pytest tests/test_margins.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tiny_model import TEMPLATE, build
from trainings_by_hand import Heard, asked, pair, pairs

from deltadata import margins, student, trainings
from deltadata.errors import UserError
from deltadata.student import open_student
from deltadata.tables import of


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("margins")
    build(folder / "tiny")
    return folder


def model(place: Path, name: str = "tiny") -> student.Student:
    return open_student(str(place / name), place, print)


def test_a_log_prob_is_the_sum_of_its_tokens(place: Path) -> None:
    """Token by token from a forward pass of its own over all that comes before, to 1e-5; whatever shares the batch."""
    import torch
    from transformers import AutoModelForCausalLM

    answers = [([3, 7, 9], [11, 12, 2]), ([3, 8], [40]), ([3] * 30, [7, 8, 9, 10, 2])]
    loaded = AutoModelForCausalLM.from_pretrained(place / "tiny", dtype=torch.float32)
    by_hand = []
    for prompt, answer in answers:
        total = 0.0
        for n, token in enumerate(answer):
            logits = loaded(torch.tensor([prompt + answer[:n]])).logits[0, -1].detach()
            total += float(logits[token] - torch.logsumexp(logits, 0))
        by_hand.append(total)
    told = margins.load(model(place))
    for budget in (1, 40, 2048):
        assert margins.log_probs(told, answers, 0, budget) == pytest.approx(by_hand, abs=1e-5)


def test_what_is_measured_is_what_trl_trains_on(place: Path) -> None:
    """TRL's reference log-probs of a training's pairs, divided by their tokens, are ours; a short window cuts both."""
    data = pairs(place / "ds", 8)
    for window in (256, 40):
        told = asked(place, place / "tiny", data, name=f"w{window}", args={"max_length": window})
        dataset = trainings.opened_trainer(told, Heard().screen).train_dataset
        ours = margins.of_model(model(place), [pair(n) for n in range(8)], window)
        for side in ("chosen", "rejected"):
            lengths = ours[of(side, "tokens")].cast(pl.Float64)
            summed = (ours[of(side, margins.MEAN)] * lengths).to_list()
            assert summed == pytest.approx(dataset[f"ref_{side}_logps"], abs=1e-3), (window, side)


def test_a_mean_is_over_the_answer_and_its_end(place: Path) -> None:
    """The answer's tokens are those of its text, the end of turn and the line feed behind it."""
    told = student.tokenizer(model(place))
    row = pair(3)
    found = margins.of_model(model(place), [row], 256)
    text = row["chosen"][0]["content"]
    assert found[of("chosen", "tokens")].item() == len(told.encode(f"{text}<|im_end|>\n", add_special_tokens=False))
    (both,) = margins.answers(told, [row], 256)
    assert both is not None
    (summed,) = margins.log_probs(margins.load(model(place)), [both["chosen"]], 0)
    assert found[of("chosen", margins.MEAN)].item() == pytest.approx(summed / len(both["chosen"][1]), abs=1e-9)


def test_a_pair_beyond_the_window_has_no_figure(place: Path) -> None:
    """Its prompt alone fills it: null on both sides, and the other pair keeps its place."""
    long: dict[str, Any] = pair(1) | {"prompt": [{"role": "user", "content": "rain " * 60}]}
    found = margins.of_model(model(place), [long, pair(2)], 64)
    assert found[of("chosen", margins.MEAN)].is_null().to_list() == [True, False]
    assert margins.gap(found).is_null().to_list() == [True, False]


def test_a_gap_is_chosen_minus_rejected(place: Path) -> None:
    """Swapped sides turn its sign."""
    row = pair(5)
    swapped = row | {"chosen": row["rejected"], "rejected": row["chosen"]}
    there, back = margins.gap(margins.of_model(model(place), [row, swapped], 256))
    assert there == pytest.approx(-back, abs=1e-6) and abs(there) > 1e-3


def test_figures_of_one_model_are_kept(place: Path, tmp_path: Path) -> None:
    """The same key gives the file's figures; another window or key does not find them."""
    rows = [pair(n) for n in range(3)]
    first = margins.cached(tmp_path, "a", model(place), rows, 256)
    assert margins.cached(tmp_path, "a", model(place), [], 256).equals(first)
    for key, window in (("b", 256), ("a", 200)):
        assert margins.cached(tmp_path, key, model(place), [], window).is_empty()


def test_other_tokens_are_refused(place: Path) -> None:
    """A reference whose template ends turns otherwise has other answers."""
    build(place / "other", template=TEMPLATE.replace("<|im_end|>\n", "<|im_end|>"))
    rows = [pair(1)]
    mine, other = (margins.of_model(model(place, name), rows, 256) for name in ("tiny", "other"))
    margins.refuse_other_tokens(mine, mine, "m")
    with pytest.raises(UserError, match="other tokens"):
        margins.refuse_other_tokens(mine, other, "m")
