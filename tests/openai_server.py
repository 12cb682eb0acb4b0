"""Loopback servers that speak the chat-completions shape, with faults on demand, in another process.

    with serve(latency=0.1, faults=[[503, 2, {"Retry-After": "1"}], ["drop", 1]]) as server:
        with open_engine(Model("any"), {"base_url": server.base_url}) as engine: ...
        server.requests()          # [{"status": 503, "key": None, "body": {...}}, ...] in the order they came

Options, all optional:

    latency       seconds before each reply (0)
    faults        [what, times, headers]: the first requests meet these in turn. `what` is an HTTP status, or one of
                  "drop" (the connection closes), "garbage" (no JSON), "empty" (no choices), "slow" (no reply for 30 s),
                  "parts" (content that is no text), "null" (no content), "half" (text that is no Unicode), "blank" (no
                  usage), "odd" (usage that is no count), "thinking" (reasoning beside the text), "tool_calls" or
                  "content_filter" (that finish_reason), or None for no fault
    max_context   characters; messages longer than that together get a 400
    require_key   the key that every chat must carry, or a 401
    models        {id: facts} that GET /models lists, the only ones that chat; without it any model does, and no list
    judge         options of `judge_by_hand`: it judges what it is shown, and fails as the texts say

A reply is "reply to <last user content>", cut after `max_tokens` words; tokens are counted in words.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple
from urllib.request import urlopen

import judge_by_hand
import pytest
from aiohttp import web


class Loopback(NamedTuple):
    """A running server."""

    base_url: str
    process: subprocess.Popen[str]

    def log(self) -> dict[str, Any]:
        """`requests`, and `most_in_flight`: how many were being answered at one time."""
        with urlopen(self.base_url.removesuffix("/v1") + "/log", timeout=30) as reply:
            log: dict[str, Any] = json.load(reply)
        return log

    def requests(self) -> list[dict[str, Any]]:
        """Every chat request so far: `status` sent (0: none), `key` and `body` received."""
        requests: list[dict[str, Any]] = self.log()["requests"]
        return requests


@contextmanager
def serve(own_process: bool = False, **options: Any) -> Iterator[Loopback]:
    """A server on a free port of 127.0.0.1 for as long as the block runs. `options` as in the module docstring.

    Servers share one process, which saves each test its start; ask for an own one to kill it or to weigh it.
    """
    process = start() if own_process else shared()
    port = tell(process, {"options": options})
    try:
        yield Loopback(f"http://127.0.0.1:{port}/v1", process)
    finally:
        if own_process:
            finish(process)
        else:
            tell(process, {"stop": port})


def start() -> subprocess.Popen[str]:
    """A process that starts and stops servers as it is told, and ends with whoever started it."""
    return subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@cache
def shared() -> subprocess.Popen[str]:
    process = start()
    atexit.register(finish, process)
    return process


def tell(process: subprocess.Popen[str], order: dict[str, Any]) -> int:
    """The port that the order was about."""
    assert process.stdin and process.stdout
    print(json.dumps(order), file=process.stdin, flush=True)
    return int(process.stdout.readline())


def finish(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.fixture
def openai_server() -> Iterator[Loopback]:
    """A server without faults."""
    with serve() as server:
        yield server


def error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": {"message": message, "code": status}}, status=status, headers=headers)


def application(
    latency: float = 0.0,
    faults: list[list[Any]] | None = None,
    max_context: int | None = None,
    require_key: str | None = None,
    models: dict[str, dict[str, Any]] | None = None,
    judge: dict[str, Any] | None = None,
) -> web.Application:
    left = [[what, *headers] for what, times, *headers in faults or [] for _ in range(times)][::-1]
    log: dict[str, Any] = {"requests": [], "most_in_flight": 0}
    in_flight = 0

    async def chat(request: web.Request) -> web.StreamResponse:
        nonlocal in_flight
        in_flight += 1
        log["most_in_flight"] = max(log["most_in_flight"], in_flight)
        entry = {"status": 0, "key": request.headers.get("Authorization"), "body": json.loads(await request.read())}
        log["requests"].append(entry)
        fault, *headers = left.pop() if left else [None]
        if judge is not None:
            same = sum(earlier["body"] == entry["body"] for earlier in log["requests"])
            fault = judge_by_hand.fault(entry["body"], same)
        try:
            await asyncio.sleep(30 if fault == "slow" else latency)
            if fault == "drop":
                assert request.transport
                request.transport.abort()
            response = answer(entry["body"], entry["key"], fault, *headers)
            entry["status"] = response.status if fault != "drop" else 0
            return response
        finally:
            in_flight -= 1

    def answer(body: dict[str, Any], key: Any, fault: Any, headers: dict[str, str] | None = None) -> web.Response:
        if require_key and key != f"Bearer {require_key}":
            return error(401, f"the key {key} is not known here")
        if models is not None and body["model"] not in models:
            return error(404, f"the model {body['model']} does not exist")
        length = sum(len(message["content"]) for message in body["messages"])
        if max_context and length > max_context:
            return error(400, f"{length} characters are more than the {max_context} of this model. " + "Sorry. " * 99)
        if isinstance(fault, int):
            return error(fault, "a fault on demand", headers)
        if fault == "garbage":
            return web.Response(body=b"<html>\xff not JSON</html>", headers=headers)
        text = f"reply to {body['messages'][-1]['content']}"
        said = (text if judge is None else judge_by_hand.reply(body, **judge)).split(" ")
        words = said[: body.get("max_tokens")]
        message: dict[str, Any] = {"role": "assistant", "content": " ".join(words)}
        if fault == "thinking":
            message["reasoning_content"] = "let me see"
        if fault in ("null", "parts"):
            message["content"] = None if fault == "null" else [{"type": "text", "text": "reply"}]
        if fault == "half":
            message["content"] = "half a smile \ud83d"
        reason = "stop" if len(words) == len(said) else "length"
        reason = fault if fault in ("tool_calls", "content_filter") else reason
        usage: dict[str, Any] = {"prompt_tokens": length, "completion_tokens": len(words)}
        choices = [] if fault == "empty" else [{"index": 0, "message": message, "finish_reason": reason}]
        if fault == "odd":
            usage = {"prompt_tokens": "7", "completion_tokens": 3.5}
        reply = {"id": "chatcmpl-0", "object": "chat.completion", "model": body["model"], "choices": choices}
        return web.json_response(reply if fault == "blank" else reply | {"usage": usage})

    async def listed(request: web.Request) -> web.Response:
        if models is None:
            return error(404, "no list of models here")
        return web.json_response({"object": "list", "data": [{"id": name} | facts for name, facts in models.items()]})

    async def told(request: web.Request) -> web.Response:
        return web.json_response(log)

    app = web.Application(client_max_size=1 << 28)
    app.add_routes([web.post("/v1/chat/completions", chat), web.get("/v1/models", listed), web.get("/log", told)])
    return app


async def main() -> None:
    sites: dict[int, web.TCPSite] = {}
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        if "stop" in order:
            port = order["stop"]
            await sites.pop(port).stop()
        else:
            runner = web.AppRunner(application(**order["options"]), access_log=None)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
            await site.start()
            port = runner.addresses[0][1]
            sites[port] = site
        print(port, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
