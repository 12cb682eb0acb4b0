"""What training takes of a GPU's memory, by arithmetic: weights, gradients, optimizer, reference, activations.

    python -c "from deltadata import memory; print(memory.text(memory.LLAMA_8B))"

Nothing is loaded. Decimal gigabytes. A test holds the header of recipes/delta_8b.yaml to these figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

GB = 10**9
FLOP_PER_TOKEN = 10  # of each parameter: 2 forward, 4 backward, 2 recomputed, 2 for the reference


class Shape(NamedTuple):
    """A Llama-like decoder: no biases, a gated feed-forward."""

    vocabulary: int
    hidden: int
    feed_forward: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    tied: bool = False

    @property
    def linears(self) -> list[tuple[int, int]]:
        """In and out of each linear map of a layer."""
        queries, keys = self.heads * self.head, self.kv_heads * self.head
        attention = [(self.hidden, queries), (self.hidden, keys), (self.hidden, keys), (queries, self.hidden)]
        up = (self.hidden, self.feed_forward)
        return [*attention, up, up, (self.feed_forward, self.hidden)]

    @property
    def parameters(self) -> int:
        layer = sum(rows * columns for rows, columns in self.linears) + 2 * self.hidden
        return self.layers * layer + self.hidden + (1 if self.tied else 2) * self.vocabulary * self.hidden

    def adapter(self, rank: int) -> int:
        """Parameters of a LoRA adapter on every linear map but the head."""
        return self.layers * rank * sum(rows + columns for rows, columns in self.linears)


LLAMA_8B = Shape(128_256, 4096, 14_336, 32, 32, 8, 128)


class Setup(NamedTuple):
    """Devices, how their states are shared out (ZeRO stage; FSDP2 is as 3), and a LoRA rank or 0."""

    name: str
    gpus: int
    stage: int = 0
    rank: int = 0


SETUPS = (
    Setup("1 GPU, LoRA r 256", 1, rank=256),
    Setup("1 GPU, full", 1),
    Setup("8 GPUs, ZeRO-2", 8, 2),
    Setup("8 GPUs, ZeRO-3 or FSDP2", 8, 3),
    Setup("2 x 8 GPUs, ZeRO-3", 16, 3),
)


def shape_of(config: Mapping[str, Any]) -> Shape:
    """The shape that a model's config.json tells."""
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    return Shape(
        config["vocab_size"],
        hidden,
        config["intermediate_size"],
        config["num_hidden_layers"],
        heads,
        config.get("num_key_value_heads") or heads,
        config.get("head_dim") or hidden // heads,
        bool(config.get("tie_word_embeddings", False)),
    )


def states(shape: Shape, setup: Setup, max_length: int = 2048, pairs: int = 1) -> dict[str, float]:
    """GB on one GPU by what takes them, with `pairs` of `max_length` tokens a side in a forward pass.

    Full: bf16 weights and gradients, a float32 master copy and Adam's two moments (16 bytes a parameter). LoRA: bf16
    frozen weights, the adapter in float32. Activations are checkpointed: the inputs of all layers, and one layer's
    own twice. The reference is computed beforehand and takes nothing. Fragmentation and buffers (some GB) come on top.
    """
    trained = shape.adapter(setup.rank) if setup.rank else shape.parameters
    width = 4 if setup.rank else 2
    share = {stage: setup.gpus if setup.stage >= stage else 1 for stage in (1, 2, 3)}
    frozen = 2 * shape.parameters if setup.rank else 0
    tokens = 2 * pairs * max_length
    layer = 6 * shape.hidden + 3 * shape.feed_forward
    found = {
        "weights": (frozen + width * trained) / share[3],
        "gradients": width * trained / share[2],
        "optimizer": (8 if setup.rank else 12) * trained / share[1],
        "activations": 2 * tokens * (shape.layers * shape.hidden + 2 * layer),
        "reference": 0,
    }
    return {name: size / GB for name, size in found.items()} | {"total": sum(found.values()) / GB}


def hours(shape: Shape, tokens: float, gpus: int, teraflops: float = 400) -> float:
    """Hours for so many tokens at `teraflops` a GPU (an H100 at 40 %): an estimate."""
    return FLOP_PER_TOKEN * shape.parameters * tokens / (gpus * teraflops * 1e12) / 3600


def rows(
    shape: Shape, setups: tuple[Setup, ...] = SETUPS, max_length: int = 2048, pairs: int = 1
) -> list[dict[str, str]]:
    """One dict per setup, for a table: its name, then GB a GPU by what takes them."""
    return [
        {"setup": setup.name} | {name: f"{size:.1f}" for name, size in states(shape, setup, max_length, pairs).items()}
        for setup in setups
    ]


def text(shape: Shape, setups: tuple[Setup, ...] = SETUPS) -> str:
    """The table as aligned lines."""
    table = rows(shape, setups)
    names = list(table[0])
    lines = [[*names], *([row[name] for name in names] for row in table)]
    wide = [max(len(line[i]) for line in lines) for i in range(len(names))]
    return "\n".join(
        "  ".join(cell.ljust(wide[i]) if not i else cell.rjust(wide[i]) for i, cell in enumerate(line)).rstrip()
        for line in lines
    )
