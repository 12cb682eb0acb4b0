"""The arithmetic of memory, the launch configurations and the 8B recipe say the same thing, without a GPU.

pytest tests/test_memory.py
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deltadata import memory, plan
from deltadata.errors import UserError
from deltadata.memory import LLAMA_8B, Setup, states
from deltadata.recipe import load
from deltadata.student import Student, on_meta
from deltadata.train_args import Plan, accumulation, arguments, built, lora_config

ROOT = Path(__file__).parents[1]
LAUNCHES = sorted((ROOT / "recipes" / "accelerate").glob("*.yaml"))


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Student:
    """A directory with the configuration of Llama-3.1-8B and no weights."""
    from transformers import LlamaConfig

    place = tmp_path_factory.mktemp("eight")
    LlamaConfig(
        vocab_size=128_256,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        tie_word_embeddings=False,
        max_position_embeddings=131_072,
    ).save_pretrained(place)
    return Student("8B", str(place), None, "")


def test_the_8b_student_stands_on_the_meta_device(eight: Student) -> None:
    """As many parameters as the arithmetic says, of the model and of its adapter, and a forward pass of its shapes."""
    import torch

    model = on_meta(eight)
    assert sum(weights.numel() for weights in model.parameters()) == LLAMA_8B.parameters == 8_030_261_248
    assert model(torch.zeros((2, 7), dtype=torch.long, device="meta")).logits.shape == (2, 7, 128_256)
    assert memory.shape_of(model.config.to_dict()) == LLAMA_8B
    peft = pytest.importorskip("peft")
    section = load(ROOT / "recipes" / "delta_8b.yaml", ["train.lora={r: 256, alpha: 512}"]).train
    plan = Plan("dpo", section, 42, eight, {}, "", "", {}, "r.yaml")
    with torch.device("meta"):
        adapted = peft.get_peft_model(model, lora_config(plan))
    trained = sum(weights.numel() for weights in adapted.parameters() if weights.requires_grad)
    assert trained == LLAMA_8B.adapter(256) == 671_088_640


def test_a_tied_head_is_counted_once() -> None:
    """SmolLM2-135M: 30 layers of 576, 9 heads over 3, embeddings tied."""
    assert memory.Shape(49_152, 576, 1536, 30, 9, 3, 64, True).parameters == 134_515_008


def test_states_by_hand() -> None:
    """16 bytes a parameter in all; ZeRO-2 shares gradients and optimizer, ZeRO-3 the weights, too."""
    billions = LLAMA_8B.parameters / 1e9
    full = states(LLAMA_8B, Setup("one", 1))
    assert full["weights"] + full["gradients"] + full["optimizer"] == pytest.approx(16 * billions)
    two, three = states(LLAMA_8B, Setup("z2", 8, 2)), states(LLAMA_8B, Setup("z3", 8, 3))
    assert (two["weights"], two["gradients"]) == (pytest.approx(2 * billions), pytest.approx(billions / 4))
    assert two["optimizer"] == three["optimizer"] == pytest.approx(12 * billions / 8)
    assert three["weights"] == pytest.approx(billions / 4)
    # 32 layers of 4,096 tokens of 4,096 numbers of 2 bytes; one layer (6 x 4,096 + 3 x 14,336 numbers a token) twice
    assert full["activations"] == pytest.approx(4096 * 2 * (32 * 4096 + 2 * 67_584) / 1e9)
    lora = states(LLAMA_8B, Setup("lora", 1, rank=256))
    adapter = 0.671088640
    assert lora["weights"] == pytest.approx(2 * billions + 4 * adapter) and lora["optimizer"] == pytest.approx(
        8 * adapter
    )
    assert states(LLAMA_8B, Setup("one", 1), pairs=2)["activations"] == pytest.approx(2 * full["activations"])


def test_the_header_of_the_8b_recipe_is_the_arithmetic() -> None:
    """Line by line, and the hours."""
    header = (ROOT / "recipes" / "delta_8b.yaml").read_text()
    for line in memory.text(LLAMA_8B).splitlines():
        assert f"#     {line}\n" in header
    hours = [f"{memory.hours(LLAMA_8B, 1.8e8, gpus):.1f} h on {name}" for gpus, name in ((1, "one"), (8, "eight"))]
    assert f"about {', '.join(hours)}." in header


def test_the_8b_recipe_is_the_papers() -> None:
    plan = Plan("dpo", load(ROOT / "recipes" / "delta_8b.yaml").train, 42, None, {}, "", "", {}, "r.yaml")
    told = arguments(plan)
    assert (told["learning_rate"], told["beta"], told["loss_type"]) == (5e-8, 5.0, ["sigmoid_norm"])
    assert plan.train.batch == 32 and plan.train.lora is None


@pytest.mark.parametrize("path", LAUNCHES, ids=lambda path: path.stem)
def test_every_launch_configuration_is_read_by_accelerate(path: Path) -> None:
    """And its processes divide the batch; its command in its first lines names itself and our module."""
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    config = load_config_from_file(str(path))
    known = vars(launch_command_parser().parse_args(["script"]))
    assert config.num_processes == yaml.safe_load(path.read_text())["num_processes"]
    assert accumulation(32, config.num_processes, 1) * config.num_processes == 32
    for section in ("fsdp_config", "deepspeed_config"):
        for key in getattr(config, section, None) or {}:
            assert key in known or key == "deepspeed_multinode_launcher", key
    assert re.search(rf"accelerate launch --config_file recipes/accelerate/{path.name} ", path.read_text())
    assert "-m deltadata train recipes/delta_8b.yaml" in path.read_text()


def test_there_is_one_for_every_setup() -> None:
    assert {path.stem for path in LAUNCHES} == {"lora_1gpu", "zero2", "zero3", "fsdp2", "two_nodes"}


def test_under_deepspeed_weights_may_be_bf16_and_nowhere_else(eight: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    """DeepSpeed keeps the float32 copy; for eight processes the batch of 32 is four passes of one pair each."""

    def made(**args: Any) -> Any:
        section = load(ROOT / "recipes" / "delta_8b.yaml").train.model_copy(update={"args": args})
        plan = Plan("dpo", section, 42, eight, {}, "", "", {}, "r.yaml")
        return built(plan, arguments(plan), "out", 8)

    config = made()
    assert config.gradient_accumulation_steps == 4 and config.model_init_kwargs["dtype"] == "float32"
    with pytest.raises(UserError, match="no float32 copy"):
        made(model_init_kwargs={"dtype": "bfloat16"})
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    from deltadata import train_args

    assert (
        train_args._dtype(
            Plan("dpo", load(ROOT / "recipes" / "delta_8b.yaml").train, 0, eight, {}, "", "", {}, ""), True, {}
        )
        == "bfloat16"
    )


def test_a_plan_tells_what_is_there_and_what_training_takes(eight: Student, tmp_path: Path):
    """Of the recipe's own student, window and pairs at once; nothing is written and no weight is needed."""
    tree = {
        "name": "big",
        "collect": {"pools": [{"name": "own", "path": "pool.jsonl"}]},
        "generate": {"engine": "scripted", "rungs": [{"name": "strong", "model": "a"}]},
        "train": {"student": eight.path, "args": {"max_length": 4096, "per_device_train_batch_size": 2}},
    }
    (tmp_path / "big.yaml").write_text(yaml.safe_dump(tree))
    recipe = load(tmp_path / "big.yaml")

    found = plan.training(recipe, tmp_path)

    assert [row["setup"] for row in found] == [setup.name for setup in memory.SETUPS]
    one = states(LLAMA_8B, memory.SETUPS[1], 4096, 2)
    assert found[1]["total"] == f"{one['total']:.1f}" != memory.rows(LLAMA_8B)[1]["total"]
    assert [row["rows"] for row in plan.made(recipe, tmp_path / "run")] == ["to be made"] * 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big.yaml"]
    for student, says in (("models/none", "no config.json"), (str(tmp_path), "config.json")):
        with pytest.raises(UserError, match=says):
            plan.training(load(tmp_path / "big.yaml", [f"train.student={student}"]), tmp_path)
