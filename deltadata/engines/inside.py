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
from queue import SimpleQueue
from threading import Thread
from typing import Any, Iterator

from deltadata.errors import DeltadataError, OutsideError, UserError

PULL = 128  # conversations per message, unless an engine says how many it `pulls`
CUDA_BUILDS = ("torchvision", "torchaudio", "torchcodec")


def main() -> int:
    """Serve until the pipe closes; the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: also a parent that is killed ends this
    parent = Parent(Connection(int(sys.argv[1])))
    try:
        _serve(parent)
    except DeltadataError as error:
        traceback.print_exc()  # into the log: the error that goes home loses its cause
        parent.tell(("failed", error))
        return error.exit_code
    except SystemExit as over:  # told to end, or the pipe closed; anything else leaves its traceback in the log
        return int(over.code or 0)
    return 0


class Parent:
    """The other end of the pipe. What it says is received beside the work, so that it never waits in mid-sentence."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._said = pipe, SimpleQueue[Any]()
        Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            while True:
                self._said.put(self._pipe.recv())
        except (EOFError, ConnectionResetError):  # it has gone, or wants no more
            self._said.put(None)

    def hear(self) -> Any:
        if (said := self._said.get()) is None:
            sys.exit(0)
        return said

    def tell(self, message: Any) -> None:
        try:
            self._pipe.send(message)
        except (BrokenPipeError, ConnectionResetError):
            sys.exit(0)


def _serve(parent: Parent) -> None:
    _, module, model, runtime = parent.hear()
    with ExitStack() as stack:
        try:
            engine = stack.enter_context(importlib.import_module(module).open_engine(model, runtime))
        except OSError as failure:  # what transformers and the Hub's client raise for a model they cannot read
            refuse_cuda_builds()
            reason = f"the model could not be loaded: {failure}"
            raise OutsideError(reason, where=model.path, cure="check its name and the network") from failure
        except (ImportError, RuntimeError):
            refuse_cuda_builds()
            raise
        parent.tell(("ready", engine.facts))
        while True:
            _, sampling = parent.hear()
            for completion in engine.generate(_pulled(parent, getattr(engine, "pulls", PULL)), sampling):
                parent.tell(("completion", completion))
            parent.tell(("done",))


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


def _pulled(parent: Parent, size: int) -> Iterator[Any]:
    """What the parent has, `size` a message; the next message is asked for before this one is worked on."""
    parent.tell(("pull", size))
    while True:
        block = parent.hear()
        more = len(block) == size
        if more:
            parent.tell(("pull", size))
        yield from block
        if not more:
            return


if __name__ == "__main__":
    code = main()
    # What exit would do for the machine (end worker processes, flush), without the 3 s it takes to dismantle torch.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
