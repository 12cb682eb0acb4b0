"""A random Llama of about 0.1 M parameters with a tokenizer of its own: made in no time, loads wherever a Llama does.

    python -c "from tests.tiny_model import build; print(build('/tmp/tiny'))"

Its answers are noise. What it is for: counts, seeds, templates, limits (256 positions).
"""

from __future__ import annotations

from pathlib import Path

POSITIONS = 256
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>")
TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if quick %}(quick) {% endif %}{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('this model takes no system message') }}{% endif %}"
)
TEXT = "the rain in the hills fills the river, and the river runs to the sea. she sells seven shells there at three."


def build(path: Path | str, system: bool = True, template: str | None = TEMPLATE, adds_bos: bool = False) -> Path:
    """Write model and tokenizer into `path`. Without `system` the template refuses system messages."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=512, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator([TEXT], trainer)
    if adds_bos:
        bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 3)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = template if system or template is None else NO_SYSTEM + template
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=POSITIONS,
        bos_token_id=3,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.2,  # wide enough for the random draws to matter
    )
    LlamaForCausalLM(config).save_pretrained(path)
    return Path(path)
