"""Any OpenAI-compatible endpoint as an engine: POST {base_url}/chat/completions, vLLM's own server included.

    python -m vllm.entrypoints.openai.api_server --model models/smollm2-135m-instruct     # in another terminal
    generate: {engine: server, rungs: [{name: smollm2-135m, model: models/smollm2-135m-instruct}]}
    runtime: {base_url: "http://localhost:8000/v1", concurrency: 64, timeout: 600, retries: 5, api_key_env: MY_KEY}

`timeout` is seconds for one request; `retries` counts tries after the first, made for passing failures only (408, 409,
425, 429, 5xx, timeouts, dropped connections, replies that are no chat completion). `api_key_env` names the environment
variable that holds the key; without it OPENAI_API_KEY is sent where it is set. A reply without text (a refusal, a tool
call, max_tokens spent on reasoning) is an error row and not asked again: the same seed would say the same.
`reasoning_content` is ignored.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from deltadata.engines import Completion, Conversation, Model, failed
from deltadata.errors import OutsideError, UserError, did_you_mean, need

NUMBERS = {"concurrency": (64, 1), "timeout": (600.0, 0.001), "retries": (5, 0)}  # default, least
RESERVED = {"model", "messages", "seed", "n", "stream"}  # what a request says anyway, or what would change its reply
BACKOFF, LONGEST_PAUSE = 0.5, 60.0  # seconds: before the first retry (each next one doubles it), and at most
FEWEST_LOST = 8  # this many requests given up in a row, or `concurrency` if more, mean that the server is gone
RESUME = "start the server and run the same command again; finished parts are kept"
jitter = random.Random()  # not the shared one: a retry must not shift anybody's seeded draws


@contextmanager
def open_engine(model: Model, runtime: dict[str, Any]) -> Iterator[Server]:
    """The engine at `runtime["base_url"]`; `model.path` is the name its server knows (revision and dtype are its own).

    Raises UserError for a runtime key that is unknown, missing or out of range, OutsideError where nothing listens.
    """
    engine = Server(model.path, runtime)
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        try:
            runner.run(engine.connect())
            yield engine
        finally:
            runner.run(engine.close())


class Server:
    """An `Engine` over one private event loop, which turns only while `generate` waits for an answer."""

    def __init__(self, model: str, runtime: dict[str, Any]) -> None:
        self.concurrency, self.timeout, self.retries = _numbers(runtime)
        self.address, self.url, self.key_env, self.key = _address(runtime)
        self.http, self.model, self.known, self.lost = need("aiohttp", "server"), model, dict[str, Any](), 0
        self.unreachable = (self.http.ClientConnectorError, self.http.ConnectionTimeoutError)
        self.facts: dict[str, Any] = {"engine": "server", "base_url": self.url, "model": model}

    async def connect(self) -> None:
        """Open the session and ask for the models. Raises OutsideError when no connection can be made."""
        http, self.loop = self.http, asyncio.get_running_loop()
        authorization = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        self.session = http.ClientSession(
            # uvicorn closes a connection that was idle for 5 s; one idle for more than 4 is better opened anew.
            connector=http.TCPConnector(limit=self.concurrency, keepalive_timeout=4, ttl_dns_cache=300),
            timeout=http.ClientTimeout(total=self.timeout, sock_connect=min(self.timeout, 30)),
            headers={"Content-Type": "application/json"} | authorization,
            cookie_jar=http.DummyCookieJar(),
        )
        try:
            async with self.session.get(f"{self.address}/models", timeout=http.ClientTimeout(total=10)) as reply:
                self.known = {str(entry["id"]): dict(entry) for entry in json.loads(await reply.read())["data"]}
        except self.unreachable as lost:
            raise OutsideError(str(lost), where=self.url, cure=RESUME) from None
        except (http.ClientError, TimeoutError, ValueError, LookupError, TypeError):
            return  # the list of models is a courtesy that not every server pays; the chat itself will tell
        told = self.known.get(self.model, {})
        if str(told.get("root")).startswith("/"):
            del told["root"]  # a directory on the server, which is nobody's business in a published card
        self.facts |= {key: told[key] for key in ("version", "owned_by", "root", "max_model_len") if told.get(key)}

    async def close(self) -> None:
        """Cancel what is in flight (its generator may still be alive), then close the session."""
        await _cancel(asyncio.all_tasks() - {asyncio.current_task()})
        await self.session.close()

    def generate(self, conversations: Iterable[Conversation], sampling: dict[str, Any]) -> Iterator[Completion]:
        """One completion per conversation, as they finish; pulls at most `concurrency` ahead of what was yielded.

        Raises UserError when the server refuses the key, the model or the address, OutsideError when it is gone.
        """
        for key in sorted(RESERVED & sampling.keys()):
            raise UserError(f"the server engine sets {key!r} itself", where="generate.sampling", cure="remove it")
        done: asyncio.Queue[asyncio.Task[Completion]] = asyncio.Queue()
        running: set[asyncio.Task[Completion]] = set()
        source = enumerate(conversations)  # pulled while the loop stands still: it may be slow, or run a loop itself
        try:
            while True:
                for index, conversation in islice(source, self.concurrency - len(running)):
                    task = self.loop.create_task(self._answer(index, conversation, sampling))
                    task.add_done_callback(done.put_nowait)
                    running.add(task)
                if not running:
                    return
                ready = [self.loop.run_until_complete(done.get())]
                for task in ready + [done.get_nowait() for _ in range(done.qsize())]:
                    yield task.result()
                    running.remove(task)
        finally:
            if not self.loop.is_closed():
                self.loop.run_until_complete(_cancel(running))

    async def _answer(self, index: int, conversation: Conversation, sampling: dict[str, Any]) -> Completion:
        if not conversation.messages or not all(message["content"].strip() for message in conversation.messages):
            return failed(index, "empty conversation")
        template = {"chat_template_kwargs": conversation.template} if conversation.template else {}
        body = {"model": self.model, "messages": conversation.messages, "seed": conversation.seed}
        data, trouble, unreachable = json.dumps(body | template | _guided(sampling)).encode(), "", False
        for tries in range(1 + self.retries):
            asked = None
            try:
                url = f"{self.address}/chat/completions"
                async with self.session.post(url, data=data, allow_redirects=False) as reply:
                    status, raw, asked = reply.status, await reply.read(), reply.headers.get("Retry-After")
            except (self.http.ClientError, TimeoutError) as lost:
                unreachable = isinstance(lost, self.unreachable)
                trouble = str(lost) or f"no reply within {self.timeout:g} s"
            else:
                answer = (status == 200 and _completion(index, raw)) or self._refused(index, status, raw)
                if isinstance(answer, Completion):
                    self.lost = 0
                    return answer
                trouble, unreachable = answer, False
            if tries < self.retries:
                await asyncio.sleep(_pause(tries, asked))
        self.lost += 1
        if unreachable or self.lost >= max(FEWEST_LOST, self.concurrency):
            raise OutsideError(trouble, where=self.url, cure=RESUME)
        return failed(index, trouble)

    def _refused(self, index: int, status: int, raw: bytes) -> Completion | str:
        """What a reply without a completion means: an error row, a trouble that may pass, or a UserError."""
        try:
            text = str(json.loads(raw)["error"]["message"])
        except (ValueError, LookupError, TypeError):
            text = raw.decode(errors="replace")
        text = text.replace(self.key, "***") if self.key else text  # some servers repeat the key they refuse
        text = " ".join(text.encode(errors="replace").decode().split())[:300]
        text = f"HTTP {status}{' without a completion' if status == 200 else ''}: {text}"
        if status in (400, 413, 422):
            return failed(index, text)
        if status in (200, 408, 409, 425, 429) or status >= 500:
            return text
        known = f" (known there: {', '.join(islice(self.known, 20))})" if self.known else ""
        cure = f"check the model {self.model!r}{known} and base_url, which most often ends with /v1"
        if status in (401, 403):
            cure = f"set the environment variable {self.key_env} to a key that this server takes"
        raise UserError(text, where=self.url, cure=cure)


def _guided(sampling: dict[str, Any]) -> dict[str, Any]:
    """The request's sampling keys: a `json_schema` becomes the `response_format` that such servers know."""
    said = dict(sampling)
    if (schema := said.pop("json_schema", None)) is not None:
        named = {"name": "reply", "schema": schema, "strict": True}
        said["response_format"] = {"type": "json_schema", "json_schema": named}
    return said


def _completion(index: int, raw: bytes) -> Completion | None:
    """What a 200 reply says; None where it is no chat completion."""
    try:
        reply = json.loads(raw)
        choice, usage = reply["choices"][0], reply.get("usage") or {}
        reason, text = choice.get("finish_reason"), choice["message"].get("content")
        if text is not None:
            text = text.encode(errors="replace").decode()  # half a surrogate pair could never be written
        counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
        asked, said = (count if isinstance(count, int) else None for count in counts)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    # An empty text is an answer (the model stopped at once), as with every engine; no text at all is none.
    if text is not None and reason in ("stop", "length"):
        return Completion(index, text, reason, None, asked, said)
    return failed(index, f"{'no text in the reply, ' if text is None else ''}finish_reason {reason}", asked)


def _pause(tries: int, asked: str | None) -> float:
    """Seconds before the next try: a doubling wait, or what Retry-After asks for (seconds or a date)."""
    wait: float = BACKOFF * 2 ** min(tries, 9)
    try:
        if asked:
            wait = float(asked) if asked.isdecimal() else parsedate_to_datetime(asked).timestamp() - time.time()
    except (ValueError, OverflowError):
        pass  # neither a number nor a date: our own pace
    # Never before the hour the server names, and spread out: those it turned away together should not come back so.
    return min(LONGEST_PAUSE, max(0.0, wait)) + BACKOFF * jitter.random()


def _numbers(runtime: dict[str, Any]) -> list[Any]:
    """The values of NUMBERS, once every key of `runtime` is found good."""
    known, values = ("base_url", "api_key_env", *NUMBERS), []
    for key in runtime.keys() - set(known):
        raise UserError(f"the server engine has no key {key!r}", where="runtime", cure=did_you_mean(key, known))
    for key, (default, least) in NUMBERS.items():
        values.append(value := runtime.get(key, default))
        if isinstance(value, bool) or not isinstance(value, (int, type(default))) or not least <= value < 1e6:
            cure = f"a {'whole ' * isinstance(default, int)}number from {least} on, such as {default:g}"
            raise UserError(f"{value!r} is no number that fits", where=f"runtime.{key}", cure=cure)
    return values


def _address(runtime: dict[str, Any]) -> tuple[str, str, str, str]:
    """The address to send to, the one to show (no credentials), the key's variable, the key ("" for none)."""
    address, named = str(runtime.get("base_url", "")).rstrip("/"), runtime.get("api_key_env")
    try:
        parts = urlsplit(address)
        plain = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.query
    except ValueError:
        plain = False
    if not plain:
        cure = 'runtime: {base_url: "http://localhost:8000/v1"}'
        raise UserError("the server engine needs an http(s) address", where="runtime.base_url", cure=cure)
    user, _, host = parts.netloc.rpartition("@")
    shown, variable = parts._replace(netloc=host).geturl(), str(named or "OPENAI_API_KEY")
    # Credentials in the address are sent as they are, unless a key is asked for by name.
    key = "" if user and not named else os.environ.get(variable, "").strip()
    if named and not key:
        what, cure = f"the environment variable {variable} is not set", f"export {variable}=... or remove api_key_env"
        if not variable.isidentifier():  # most likely the key itself, which is not to be shown
            what, cure = "this is not the name of an environment variable", "api_key_env: MY_KEY, and export MY_KEY=..."
        raise UserError(what, where="runtime.api_key_env", cure=cure)
    return shown if key else address, shown, variable, key


async def _cancel(tasks: set[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
