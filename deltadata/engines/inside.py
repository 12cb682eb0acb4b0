"""The child's side of `deltadata.engines.child`: opens the engine that the parent asks for and answers its calls.

python -m deltadata.engines.inside 7        (7: an inherited pipe; only `hosted` starts it)
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import os
import signal
import sys
import traceback
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any, Iterator

from deltadata.engines import Conversation, Engine
from deltadata.errors import DeltadataError, OutsideError, UserError

PULL = 128  # conversations per message
CUDA_BUILDS = ("torchvision", "torchaudio", "torchcodec")


def main() -> int:
    """Serve until the pipe closes; the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: also a parent that is killed ends this
    pipe = Connection(int(sys.argv[1]))
    try:
        _serve(pipe)
    except DeltadataError as error:
        traceback.print_exc()  # into the log: the error that goes home loses its cause
        _tell(pipe, ("failed", error))
        return error.exit_code
    except SystemExit as over:  # told to end, or the pipe closed; anything else leaves its traceback in the log
        return int(over.code or 0)
    return 0


def _serve(pipe: Connection) -> None:
    _, name, model, runtime = _hear(pipe)
    with ExitStack() as stack:
        try:
            opening = importlib.import_module(f"deltadata.engines.{name}").open_engine(model, runtime)
            engine: Engine = stack.enter_context(opening)
        except OSError as failure:  # what transformers and the Hub's client raise for a model they cannot read
            refuse_cuda_builds()
            reason = f"the model could not be loaded: {failure}"
            raise OutsideError(reason, where=model.path, cure="check its name and the network") from failure
        except (ImportError, RuntimeError):
            refuse_cuda_builds()
            raise
        _tell(pipe, ("ready", engine.facts))
        while True:
            _, sampling = _hear(pipe)
            for completion in engine.generate(_pulled(pipe), sampling):
                _tell(pipe, ("completion", completion))
            _tell(pipe, ("done",))


def refuse_cuda_builds() -> None:
    """Raises UserError when a package that does not import beside a CPU build of torch is what broke the engine."""
    broken = []
    for package in CUDA_BUILDS:
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as missing:
            if missing.name != package:
                broken.append(package)
        except (ImportError, RuntimeError, OSError):
            broken.append(package)
    if broken:
        raise UserError(
            f"installed for another build of torch, and breaking vLLM and transformers: {', '.join(broken)}",
            where="the Python environment",
            cure=f"pip uninstall -y {' '.join(CUDA_BUILDS)}",
        )


def _pulled(pipe: Connection) -> Iterator[Conversation]:
    while True:
        _tell(pipe, ("pull", PULL))
        block = _hear(pipe)
        yield from block
        if len(block) < PULL:
            return


def _hear(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except (EOFError, ConnectionResetError):  # the parent has gone, or wants no more
        sys.exit(0)


def _tell(pipe: Connection, message: Any) -> None:
    try:
        pipe.send(message)
    except (BrokenPipeError, ConnectionResetError):
        sys.exit(0)


if __name__ == "__main__":
    code = main()
    # What exit would do for the machine (end worker processes, flush), without the 3 s it takes to dismantle torch.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
