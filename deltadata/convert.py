"""A GGUF file into a directory of bf16 safetensors that vLLM, transformers and TRL load, checked by using it.

python -m deltadata.convert smollm2-135m-instruct weights.gguf OUT        (what `deltadata models NAME` runs)
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from deltadata.errors import OutsideError
from deltadata.models import KNOWN, NOTE

PARAGRAPH = (
    "The water cycle describes how water moves between the oceans, the air and the land. Heat from the sun turns water "
    "at the surface into vapour, which rises, cools and forms clouds. When the drops in a cloud grow heavy enough they "
    "fall as rain or snow. Some of this water soaks into the ground, and the rest runs into rivers that carry it back "
    "to the sea."
)
ROUND_TRIP = "Héllo  World: 12345 eggs,\n\n\t1. x = {漢字}; \u20ac5 <b>'s</b>\n"
CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]


def _mend_smollm2(tokenizer: Any) -> None:
    """Digits stand alone in SmolLM's pre-tokenizer; the conversion forgets it, which changes how lists are split."""
    from tokenizers import pre_tokenizers

    split = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.model_max_length = 8192


def _mend_gemma(tokenizer: Any) -> None:
    """The conversion forgets the automatic BOS, without which this model is lost; a base model has no chat template."""
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", tokenizer.bos_token_id)]
    )
    tokenizer.model_max_length = 32768
    tokenizer.chat_template = (
        "{{ bos_token }}{% for message in messages %}"
        "{% if message['role'] == 'user' %}{{ 'Question: ' + message['content'] + '\\n' }}"
        "{% elif message['role'] == 'assistant' %}{{ 'Answer: ' + message['content'] + '\\n\\n' }}"
        "{% else %}{{ message['content'] + '\\n\\n' }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ 'Answer:' }}{% endif %}"
    )


def convert(name: str, gguf: Path, out: Path) -> None:
    """Write `out` in the layout that vLLM, transformers and TRL load."""
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig

    known = KNOWN[name]
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    MEND[name](tokenizer)
    tokenizer.save_pretrained(out)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    # Plain weights from here on: a model marked as quantised refuses to be saved.
    model.hf_quantizer = None
    vars(model.config).pop("quantization_config", None)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=list(known.eos), pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(out)
    del model
    nll = _check(name, out)
    about = {
        "name": name,
        "what": known.what,
        "license": known.license,
        "packages": known.packages,
        "gguf_sha256": known.sha256,
        "parameters": known.parameters,
        "nll_per_token": round(nll, 3),
        "converter": {"transformers": transformers.__version__, "torch": torch.__version__},
    }
    (out / NOTE).write_text(json.dumps(about, indent=2) + "\n")


def _check(name: str, path: Path) -> float:
    """Use the saved model as an engine would; its mean NLL on PARAGRAPH, nats a token. Raises OutsideError."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    known = KNOWN[name]
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16)
    bare = tokenizer.apply_chat_template(CAPITAL, tokenize=False)
    asked = tokenizer.apply_chat_template(CAPITAL, tokenize=False, add_generation_prompt=True)
    question = tokenizer(asked, add_special_tokens=False, return_tensors="pt")
    text = tokenizer(PARAGRAPH, return_tensors="pt")
    with torch.inference_mode():
        nll = float(model(**text, labels=text.input_ids).loss)
        ids = model.generate(**question, max_new_tokens=24, do_sample=False)[0]
    answer = tokenizer.decode(ids[question.input_ids.shape[1] :], skip_special_tokens=True)
    plain = tokenizer.encode(ROUND_TRIP, add_special_tokens=False)
    broken = {
        "its tokenizer does not give a text back": tokenizer.decode(plain) == ROUND_TRIP,
        "a special token is not one id": all(
            len(tokenizer.encode(token, add_special_tokens=False)) == 1 for token in known.special
        ),
        f"its template ends with {asked[len(bare) :]!r}": asked == bare + known.header,
        f"its parameters are {model.num_parameters()}": model.num_parameters() == known.parameters,
        f"its loss is {nll:.2f} nats a token, more than {known.nll}": math.isfinite(nll) and nll < known.nll,
        f"asked for the capital of France it says {answer!r}": "Paris" in answer,
    }
    if failures := [fault for fault, good in broken.items() if not good]:
        raise OutsideError(f"the converted {name} is not right: {'; '.join(failures)}")
    return nll


MEND = {"smollm2-135m-instruct": _mend_smollm2, "gemma-3-270m": _mend_gemma}

if __name__ == "__main__":
    try:
        convert(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    except OutsideError as error:
        sys.exit(error.what)
