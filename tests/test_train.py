"""A training is what it says: its loss is the formula's, it resumes after a kill, and nothing wrong is trained on.

pytest tests/test_train.py
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hub_server import client_env, serving
from trainings_by_hand import SCHEMA, Heard, asked, pair, pairs, recipe, student, write

from deltadata import trainings, watch
from deltadata.errors import OutsideError, UserError
from deltadata.machine import room
from deltadata.sections import Train
from deltadata.store import read_record
from deltadata.train import last_checkpoint
from deltadata.train_args import Plan, accumulation, arguments

LN_2 = math.log(2)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a student (tiny) and pairs (ds: 32 to train on, 8 held out)."""
    folder = tmp_path_factory.mktemp("train")
    student(folder / "tiny")
    pairs(folder / "ds", 32, 8)
    return folder


@pytest.fixture(scope="module")
def trained(place: Path) -> tuple[trainings.Asked, str]:
    """One finished training and what was said."""
    heard, told = Heard(), asked(place, place / "tiny", place / "ds")
    assert trainings.run_training(told, heard.screen) == place / "run" / "train" / "dpo"
    return told, heard.text


def history(folder: Path) -> list[dict[str, Any]]:
    return [entry for entry in json.loads((folder / "log.json").read_text()) if "loss" in entry]


def test_the_first_loss_is_ln_2_and_it_falls(trained: tuple[trainings.Asked, str]) -> None:
    """Eight steps of eight pairs; student and reference are the same before the first."""
    losses = [entry["loss"] for entry in history(trained[0].folder)]
    assert len(losses) == 8
    assert losses[0] == pytest.approx(LN_2, abs=1e-5)
    assert losses[-1] < 0.1
    assert "step 1/8: loss 0.6931" in trained[1] and "held out: loss 0.6931 -> 0.0" in trained[1]


def test_the_folder_loads_and_says_what_made_it(trained: tuple[trainings.Asked, str]) -> None:
    """Model and tokenizer for transformers; record, card, log and picture beside them."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = trained[0].folder
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    asks: Any = tokenizer.apply_chat_template(
        pair(3)["prompt"], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    assert model.generate(**asks, max_new_tokens=2).shape[1] == asks["input_ids"].shape[1] + 2
    _, record = read_record(folder, trainings.RECORD)
    entry = record["train"]
    assert entry.rows == 32 and entry.facts["steps"] == 8 and entry.facts["held_out"]["eval_accuracy"] == 1.0
    assert entry.facts["deltas"][0]["pairs"] == 32
    assert entry.facts["deltas"][0]["deltas"] == {"tokens": pytest.approx(sum(n % 5 for n in range(32)) / 32)}
    assert {"model.safetensors", "README.md", "log.json", "train.png", "config.json"} <= entry.files.keys()
    page = (folder / "README.md").read_text()
    for fact in (entry.facts["dataset"]["digest"], entry.facts["student"]["digest"], "| learning\\_rate | 0\\.002 |"):
        assert fact in page
    assert (folder / "train.png").stat().st_size > 10_000
    assert not (folder / ".cache").exists() and not (folder / "training_args.bin").exists()


def test_done_is_skipped_and_another_recipe_refused(trained: tuple[trainings.Asked, str], place: Path) -> None:
    heard, before = Heard(), (trained[0].folder / "model.safetensors").stat().st_mtime_ns
    trainings.run_training(trained[0], heard.screen)
    assert "nothing to do" in heard.text
    assert (trained[0].folder / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UserError, match=r"args.beta: 5.0 -> 4.0"):
        trainings.run_training(asked(place, place / "tiny", place / "ds", args={"beta": 4.0}), heard.screen)
    # How often something is logged or kept shapes no model.
    loose = asked(place, place / "tiny", place / "ds", args={"logging_steps": 2, "save_steps": 7})
    assert trainings.run_training(loose, heard.screen) == trained[0].folder


def test_reference_log_probs_are_made_once(trained: tuple[trainings.Asked, str], place: Path) -> None:
    """Another rate or name finds them, and gives the same first loss; another window does not."""
    heard = Heard()
    other = asked(place, place / "tiny", place / "ds", name="slow", args={"learning_rate": 1e-3, "max_steps": 2})
    trainings.run_training(other, heard.screen)
    assert "reference log-probs: those of an earlier training (train, eval)" in heard.text
    assert history(other.folder)[0]["loss"] == pytest.approx(LN_2, abs=1e-5)
    keys = {trainings.plan(told).reference for told in (trained[0], other)}
    shorter = asked(place, place / "tiny", place / "ds", args={"max_length": 100})
    assert len(keys) == 1 and trainings.plan(shorter).reference not in keys


def test_overwriting_moves_the_former_model_aside(tmp_path: Path, place: Path) -> None:
    data = pairs(tmp_path / "ds", 8)
    few = {"max_steps": 1, "learning_rate": 1e-3}
    first = asked(tmp_path, place / "tiny", data, args=few)
    folder = trainings.run_training(first, Heard().screen)
    before = (folder / "model.safetensors").read_bytes()
    trainings.run_training(asked(tmp_path, place / "tiny", data, args=few | {"beta": 1.0}), Heard().screen, True)
    (former,) = (folder / "replaced").iterdir()
    assert (former / "model.safetensors").read_bytes() == before
    pairs(data, 16)  # other data is no drift: trained anew, the former model kept as well
    heard = Heard()
    trainings.run_training(asked(tmp_path, place / "tiny", data, args=few | {"beta": 1.0}), heard.screen)
    assert "trained anew, since the data" in heard.text and len(list((folder / "replaced").iterdir())) == 2


def perturbed(made: Any) -> None:
    """Move the policy away from the reference, so that the loss is no longer ln 2."""
    import torch

    torch.manual_seed(1)
    with torch.no_grad():
        for weights in made.model.parameters():
            weights.add_(0.02 * torch.randn_like(weights))


def plain_logps(model: Any, ids: list[int], start: int) -> tuple[float, int]:
    """The sum of the log-probs of the tokens from `start` on, and how many they are, in plain torch."""
    import torch

    with torch.no_grad():
        logps = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
    return sum(float(logps[at - 1, ids[at]]) for at in range(start, len(ids))), len(ids) - start


def test_the_loss_of_every_pair_is_the_formula(tmp_path: Path, place: Path) -> None:
    """-log sigmoid(5 (A(chosen) - A(rejected))), A the mean log-ratio a token, computed here without TRL; and the
    margin that is logged is what stands inside."""
    from transformers import AutoModelForCausalLM

    told = asked(tmp_path, place / "tiny", pairs(tmp_path / "ds", 6))
    made = trainings.opened_trainer(told, Heard().screen)
    reference = AutoModelForCausalLM.from_pretrained(place / "tiny").eval()
    perturbed(made)
    policy = AutoModelForCausalLM.from_config(reference.config).eval()
    policy.load_state_dict(made.model.state_dict())
    made.model.eval()
    insides = []
    for row in made.train_dataset:
        sides = []
        for side in ("chosen_ids", "rejected_ids"):
            ids, start = row["prompt_ids"] + row[side], len(row["prompt_ids"])
            ours, count = plain_logps(policy, ids, start)
            sides.append((ours - plain_logps(reference, ids, start)[0]) / count)
        inside = 5.0 * (sides[0] - sides[1])
        loss = made.compute_loss(made.model, made._prepare_inputs(made.data_collator([row])))
        assert abs(inside) > 0.01
        assert float(loss.detach()) == pytest.approx(math.log1p(math.exp(-inside)), abs=1e-5)
        insides.append(inside)
    logged: dict[str, float] = {"loss": 0.0}
    made.log(logged)
    assert logged["eval_margin"] == pytest.approx(sum(insides) / 6, abs=1e-4)
    assert logged["eval_accuracy"] == pytest.approx(sum(inside > 0 for inside in insides) / 6)


def test_swapped_pairs_move_the_margin_the_other_way(tmp_path: Path, place: Path) -> None:
    """Two steps on the pairs and on the pairs turned round: what one learns to prefer the other learns to reject."""
    margins = {}
    for way in ("as they are", "turned round"):
        rows = [pair(number) for number in range(16)]
        if way == "turned round":
            rows = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]
        folder = tmp_path / way.replace(" ", "-")
        data = write(folder / "ds", rows)
        write(data, [pair(number) for number in range(40, 48)], "test")  # looked at the same way in both
        args = {"learning_rate": 5e-4, "lr_scheduler_type": "constant", "warmup_steps": 0}
        told = asked(folder, place / "tiny", data, args=args)
        trainings.run_training(told, Heard().screen)
        margins[way] = read_record(told.folder, trainings.RECORD)[1]["train"].facts["held_out"]["eval_margin"]
    assert margins["as they are"] > 0.1 and margins["turned round"] < -0.1


def test_sft_trains_on_the_chosen_answers_of_the_same_prompts(tmp_path: Path, place: Path) -> None:
    """Arguments of DPO alone are left out; every token of loss is one of the chosen answers."""
    told = asked(
        tmp_path, place / "tiny", place / "ds", method="sft", args={"beta": 5.0, "loss_type": ["sigmoid_norm"]}
    )
    made = trainings.opened_trainer(told, Heard().screen)
    rows = made.train_dataset
    assert len(rows) == 32
    plan = trainings.plan(told)
    from deltadata.preflight import tokenised
    from deltadata.student import tokenizer

    for row, found in zip(rows, tokenised(tokenizer(plan.student), [pair(n) for n in range(32)]), strict=True):
        assert [label for label in row["labels"] if label != -100] == found.sides["chosen"]
    folder = trainings.run_training(told._replace(run=tmp_path / "other"), Heard().screen)
    losses = [entry["loss"] for entry in history(folder)]
    assert len(losses) == 8 and losses[-1] < losses[0]


@pytest.mark.slow
def test_a_lora_adapter_is_trained_and_the_base_is_not(tmp_path: Path, place: Path) -> None:
    pytest.importorskip("peft")
    told = asked(
        tmp_path, place / "tiny", place / "ds", lora={"r": 4, "alpha": 8, "dropout": 0.0}, args={"max_steps": 3}
    )
    folder = trainings.run_training(told, Heard().screen)
    assert history(folder)[0]["loss"] == pytest.approx(LN_2, abs=1e-5)
    made = json.loads((folder / "adapter_config.json").read_text())
    assert (made["r"], made["lora_alpha"]) == (4, 8)
    assert "lm_head" not in made["target_modules"] and not (folder / "model.safetensors").exists()
    assert "library_name: peft" in (folder / "README.md").read_text()
    with pytest.raises(UserError, match=r"train\.lora\.alhpa: unknown key"):
        trainings.run_training(
            asked(tmp_path, place / "tiny", place / "ds", lora={"alhpa": 8}, name="b"), Heard().screen
        )


# What is refused, before anything is trained.


def refused(folder: Path, pattern: str, student: Any, dataset: Path, **section: Any) -> UserError:
    with pytest.raises(UserError, match=pattern) as problem:
        trainings.run_training(asked(folder, student, dataset, **section), Heard().screen)
    assert problem.value.cure
    return problem.value


@pytest.mark.parametrize(
    ("pattern", "section"),
    [
        (r"train.args.bata: the installed trl.DPOConfig has no such argument", {"args": {"bata": 5.0}}),
        (r"train.args.learning_rate: 'fast' is no float", {"args": {"learning_rate": "fast"}}),
        (r"padding_free needs flash attention", {"args": {"padding_free": True}}),
        (r"gradient_accumulation_steps: is not for you to set", {"args": {"gradient_accumulation_steps": 4}}),
        (r"output_dir: is not for you to set", {"args": {"output_dir": "x"}}),
        (r"trl refuses these arguments: .loss_weights. must have", {"args": {"loss_weights": [1.0, 2.0]}}),
        (r"trl refuses.*sync_ref_model", {"args": {"sync_ref_model": True}}),
        (r"8 pairs does not divide over 1 process\(es\) of 3", {"args": {"per_device_train_batch_size": 3}}),
        (r"bfloat16 with no float32 copy", {"args": {"model_init_kwargs": {"dtype": "bfloat16"}}}),
        (r"32 of 32 pairs are unfit.*prompt_fills_window", {"args": {"max_length": 20}}),
        (r"cut at 50 tokens", {"args": {"max_length": 50}}),
    ],
)
def test_arguments_that_would_train_nothing_good_are_refused(
    tmp_path: Path, place: Path, pattern: str, section: dict[str, Any]
) -> None:
    refused(tmp_path, pattern, place / "tiny", place / "ds", **section)
    assert not list(tmp_path.rglob("model.safetensors"))


def test_an_unknown_argument_is_told_with_its_line(tmp_path: Path, place: Path) -> None:
    """And with what was meant; an override with its own words."""
    path = recipe(tmp_path, place / "tiny", place / "ds", args={"bta": 5.0})
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "bta" in text)
    with pytest.raises(UserError) as problem:
        trainings.run_training(trainings.asked(str(path), [], tmp_path / "run"), Heard().screen)
    assert problem.value.where == f"{path}:{line}" and problem.value.cure == "did you mean 'beta'?"
    over = trainings.asked(str(path), ["train.args={beata: 1.0}"], tmp_path / "run")
    with pytest.raises(UserError, match="has no such argument"):
        trainings.run_training(over, Heard().screen)


def test_students_that_cannot_be_trained_are_refused(tmp_path: Path, place: Path) -> None:
    bare = student(tmp_path / "bare", template=None)
    assert "chat_template.jinja" in str(refused(tmp_path, "no chat template", bare, place / "ds").cure)
    refused(tmp_path, "neither a directory nor a Hub id", tmp_path / "none", place / "ds")
    refused(tmp_path, "no student is named", "", place / "ds")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(tmp_path, "no config.json", empty, place / "ds")
    (empty / "config.json").write_text("{}")
    refused(tmp_path, "no weights", empty, place / "ds")


def test_data_that_is_no_pairs_is_refused(tmp_path: Path, place: Path) -> None:
    """No folder, no column, text beside messages, text alone, another struct, no row."""
    tiny = place / "tiny"
    refused(tmp_path, "no such folder", tiny, tmp_path / "none")
    (tmp_path / "hollow").mkdir()
    refused(tmp_path, "no pairs to train on", tiny, tmp_path / "hollow")
    rows = [pair(number) for number in range(3)]

    def broken(name: str, change: Any, *fields: Any) -> Path:
        kept = [field for field in SCHEMA if field.name not in [f.name for f in fields] and field.name != change]
        flat = [{**row, **{f.name: row["prompt"][0]["content"] for f in fields}} for row in rows]
        return write(tmp_path / name, flat, schema=pa.schema([*kept, *fields]))

    refused(tmp_path, "no column 'rejected'", tiny, broken("a", "rejected"))
    refused(
        tmp_path, "prompt is text beside lists of messages", tiny, broken("b", None, pa.field("prompt", pa.string()))
    )
    texts = [pa.field(name, pa.string()) for name in ("prompt", "chosen", "rejected")]
    refused(tmp_path, r"prompt, chosen, rejected are text\n", tiny, broken("c", None, *texts))
    refused(tmp_path, "no row to train on", tiny, write(tmp_path / "d", []))
    other = pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))
    odd = [row | {"chosen": [{"from": "gpt", "value": "x"}]} for row in rows]
    kinds = pa.schema([pa.field("chosen", other) if field.name == "chosen" else field for field in SCHEMA])
    refused(
        tmp_path, r"chosen is list.*not a list of \{role, content\}", tiny, write(tmp_path / "e", odd, schema=kinds)
    )


def test_lora_without_peft_is_refused_with_the_line_that_installs_it(tmp_path: Path, place: Path) -> None:
    """In an interpreter that does not find peft."""
    path = recipe(tmp_path, place / "tiny", place / "ds", lora={"r": 4})
    code = "import sys; sys.modules['peft'] = None; import importlib.util as u; find = u.find_spec\n"
    code += "u.find_spec = lambda name, *a: None if name == 'peft' else find(name, *a)\n"
    code += f"sys.argv = ['deltadata', 'train', {str(path)!r}]; from deltadata.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "pip install 'deltadata-toolkit[lora]'" in done.stderr


def test_the_batch_is_the_same_whatever_the_number_of_devices() -> None:
    assert [accumulation(32, devices, 1) for devices in (1, 8, 16, 32)] == [32, 4, 2, 1]
    assert accumulation(32, 8, 4) == 1
    for devices, per_device in ((64, 1), (5, 1), (8, 3)):
        with pytest.raises(UserError, match="does not divide"):
            accumulation(32, devices, per_device)


def test_the_defaults_are_the_papers() -> None:
    """As released for Tulu-3-8B-SFT with 3B over 1.5B; `floor` and beta belong to DPO alone."""
    told = arguments(Plan("dpo", Train(), 42, None, {}, "", "", {}, "r.yaml"))
    assert (told["loss_type"], told["beta"], told["learning_rate"]) == (["sigmoid_norm"], 5.0, 5e-8)
    assert (told["lr_scheduler_type"], told["lr_scheduler_kwargs"]) == ("cosine_with_min_lr", {"min_lr_rate": 0.1})
    assert (told["warmup_steps"], told["adam_beta1"], told["adam_beta2"]) == (0.03, 0.9, 0.95)
    assert (told["weight_decay"], told["max_grad_norm"], told["max_length"], told["seed"]) == (0.0, 1.0, 2048, 42)
    assert Train().batch == 32 and told["num_train_epochs"] == 1 and told["precompute_ref_log_probs"]
    sft = arguments(Plan("sft", Train(), 42, None, {}, "", "", {}, "r.yaml"))
    assert sft["completion_only_loss"] and sft["max_length"] == 2048 and not {"beta", "loss_type"} & sft.keys()
    assert arguments(Plan("dpo", Train(), 0, None, {}, "", "", {}, "r.yaml"), 512)["max_length"] == 512


def test_a_checkpoint_that_was_not_finished_is_passed_over(tmp_path: Path) -> None:
    """Its state is the last thing written; the highest number alone says nothing."""
    for step, state in ((9, '{"global_step": 9}'), (10, '{"global_step": 10}'), (11, '{"glob'), (12, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert last_checkpoint(tmp_path / "none") is None


def test_no_room_for_checkpoints_is_an_outside_matter(tmp_path: Path) -> None:
    room(7_000_000_000, 7_000_000_000, tmp_path)
    with pytest.raises(OutsideError, match=r"7 GB are free.*may take 7\.01 GB"):
        room(7_010_000_000, 7_000_000_000, tmp_path)


def test_the_log_holds_no_number_that_json_does_not_know() -> None:
    assert watch.finite([{"loss": math.nan, "step": 1}, {"loss": 0.5, "grad_norm": math.inf}]) == [
        {"loss": None, "step": 1},
        {"loss": 0.5, "grad_norm": None},
    ]


# In processes of their own.


def command(folder: Path, *arguments: str, **how: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"NO_COLOR": "1", "COLUMNS": "200"} | how.pop("env", {})
    return subprocess.Popen(
        [sys.executable, "-m", "deltadata", *arguments],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **how,
    )


@pytest.mark.slow
def test_a_killed_training_resumes_with_the_same_end(tmp_path: Path, place: Path) -> None:
    """kill -9 once a checkpoint is whole; the same command goes on from it and the losses are those of no kill."""
    args = {"num_train_epochs": 6, "save_steps": 4, "learning_rate": 2e-4}
    whole = asked(tmp_path / "whole", place / "tiny", place / "ds", args=args)
    expected = [entry["loss"] for entry in history(trainings.run_training(whole, Heard().screen))]
    recipe(tmp_path, place / "tiny", place / "ds", args=args)
    folder = tmp_path / "runs" / "tiny" / "train" / "dpo"
    process = command(tmp_path, "train", "recipe.yaml")
    try:
        for _ in range(1200):
            if last_checkpoint(folder / "checkpoints") or process.poll() is not None:
                break
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    finally:
        process.communicate()
    assert process.returncode == -signal.SIGKILL and not (folder / "model.safetensors").exists()
    again = command(tmp_path, "train", "recipe.yaml")
    said = again.communicate(timeout=120)[1]
    assert again.returncode == 0, said
    assert "resumes from" in said and "reference log-probs: those of an earlier training" in said
    losses = [entry["loss"] for entry in history(folder)]
    assert len(losses) == 24 and losses == pytest.approx(expected, abs=1e-4)


def test_a_disk_that_fills_is_exit_3_and_says_what_is_kept(tmp_path: Path, place: Path) -> None:
    """No file may pass 300 kB, and the weights have 400."""
    recipe(tmp_path, place / "tiny", place / "ds", args={"save_steps": 2})
    most = 300_000
    process = command(
        tmp_path, "train", "recipe.yaml", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    )
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 3 and "Traceback" not in said, said
    assert "the last whole checkpoint is kept" in said


def test_pairs_of_the_hub_are_read_at_their_commit(tmp_path: Path, place: Path) -> None:
    """By owner/name and a branch; the second time from the copy, and by another commit not."""
    data = place / "ds" / "data" / "default"
    files = {f"data/{path.name}": path.read_bytes() for path in data.iterdir()}
    code = (
        "import sys; from pathlib import Path; from deltadata.training_data import open_pairs\n"
        "found = open_pairs('me/pairs@v1', Path(sys.argv[1])); print(found.rows, found.commit)"
    )
    with serving() as hub:
        sha = hub.commit("me/pairs", files, "v1")
        for _ in range(2):
            asks = [sys.executable, "-c", code, str(tmp_path / "cache")]
            done = subprocess.run(asks, env=client_env(hub.url, tmp_path), capture_output=True, text=True, timeout=120)
            assert done.stdout.strip() == f"{{'train': 32, 'test': 8}} {sha}", done.stderr
    assert len(list((tmp_path / "cache").glob("*/train-*.parquet"))) == 1


def launched(folder: Path, recipe: Path, processes: int) -> subprocess.CompletedProcess[str]:
    """`accelerate launch` as with several GPUs; where there is none its processes talk by gloo."""
    asks = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--mixed_precision", "no"]
    asks += ["--num_processes", str(processes), "--num_machines", "1", "--dynamo_backend", "no"]
    asks += [*(["--multi_gpu", "--main_process_port", "0"] if processes > 1 else ["--cpu"])]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    asks += ["-m", "deltadata", "train", str(recipe)]
    return subprocess.run(asks, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_two_processes_give_the_curve_of_one(tmp_path: Path, place: Path) -> None:
    """`accelerate launch` with gloo on the CPU: the same effective batch, the same pairs a step, the same losses."""
    curves = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        path = recipe(folder, place / "tiny", place / "ds", args={"per_device_train_batch_size": 2})
        done = launched(folder, path, processes)
        assert done.returncode == 0, done.stderr
        made = folder / "runs" / "tiny" / "train" / "dpo"
        assert read_record(made, trainings.RECORD)[1]["train"].facts["devices"] == processes
        curves[processes] = [[entry[key] for key in ("loss", "margin", "accuracy")] for entry in history(made)]
    assert len(curves[1]) == 8
    for one, two in zip(curves[1], curves[2], strict=True):
        assert two == pytest.approx(one, abs=1e-4)


@pytest.mark.slow
def test_an_error_of_the_main_process_ends_all(tmp_path: Path, place: Path) -> None:
    """Told once, nobody waits for a process that left."""
    path = recipe(tmp_path, place / "tiny", place / "ds", args={"bta": 1.0})
    done = launched(tmp_path, path, 2)
    assert done.returncode != 0 and done.stderr.count("did you mean 'beta'?") == 1
