"""What the server engine promises, shown against a loopback server in another process."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import re
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from openai_server import serve

from deltadata.engines import Completion, Conversation, Model, open_engine, server
from deltadata.errors import OutsideError, UserError

SECRET = "sk-quiet-as-a-mouse"


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries wait milliseconds, and no key of the person who tests is sent anywhere."""
    monkeypatch.setattr(server, "BACKOFF", 0.002)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def ask(*texts: str) -> list[Conversation]:
    return [Conversation([{"role": "user", "content": text}], seed) for seed, text in enumerate(texts)]


def answers(base_url: str, conversations: Any, sampling: Any = None, **runtime: Any) -> list[Completion]:
    """The completions in the order of their conversations."""
    with open_engine("server", Model("small"), {"base_url": base_url, **runtime}) as engine:
        return sorted(engine.generate(conversations, sampling or {}))


def test_every_conversation_is_answered_once() -> None:
    """Each conversation gets one completion, matched to it by its index, with the tokens the server counted."""
    with serve() as loopback:
        got = answers(loopback.base_url, iter(ask(*(f"q{number}" for number in range(50)))), concurrency=8)
        assert got == [Completion(n, f"reply to q{n}", "stop", None, len(f"q{n}"), 3) for n in range(50)]
        assert len(loopback.requests()) == 50


def test_a_request_says_what_it_was_told() -> None:
    """A request carries model, messages, seed and the sampling keys as they are, and template keys if there are any."""
    talk = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "été \ud83d"}]
    sampling = {"max_tokens": 9, "temperature": 0.7, "top_k": 20, "stop": ["\n"]}
    conversations = [Conversation(talk, 7), Conversation(talk, 8, {"enable_thinking": False})]
    with serve() as loopback:
        answers(loopback.base_url, conversations, sampling, concurrency=1)
        plain, templated = (request["body"] for request in loopback.requests())
    assert plain == {"model": "small", "messages": talk, "seed": 7, **sampling}
    assert templated == plain | {"seed": 8, "chat_template_kwargs": {"enable_thinking": False}}


@pytest.mark.parametrize("fault", [408, 409, 425, 429, 500, 502, 503, 529, "drop", "garbage", "empty", "parts"])
def test_a_passing_failure_is_tried_again(fault: int | str) -> None:
    """A fault that passes costs one more request and leaves no trace in the answer."""
    with serve(faults=[[fault, 2]]) as loopback:
        assert [one.text for one in answers(loopback.base_url, ask("a"))] == ["reply to a"]
        assert len(loopback.requests()) == 3


def test_a_late_reply_is_asked_for_again() -> None:
    """A request that takes longer than `timeout` is dropped and sent again."""
    with serve(faults=[["slow", 1]]) as loopback:
        assert answers(loopback.base_url, ask("a"), timeout=0.5)[0].text == "reply to a"
        assert len(loopback.requests()) == 2


@pytest.mark.parametrize("fault, says", [(503, "HTTP 503"), ("garbage", "without a completion"), ("slow", "0.3 s")])
def test_a_failure_that_lasts_is_an_error_row(fault: int | str, says: str) -> None:
    """After `retries` more tries the row says what went wrong, and the others are answered."""
    with serve(faults=[[fault, 3]]) as loopback:
        got = answers(loopback.base_url, ask("a", "b"), concurrency=1, retries=2, timeout=0.3)
        assert len(loopback.requests()) == 4
    assert (got[0].text, got[0].finish_reason, got[1].text) == (None, "error", "reply to b")
    assert says in (got[0].error or "")


def test_a_server_that_only_fails_ends_the_run() -> None:
    """Eight given up in a row is an OutsideError, never a run full of error rows; one success starts the count anew."""
    questions = ask(*map(str, range(40)))
    with serve(faults=[[500, 7], [None, 1], [500, 7]]) as loopback:
        got = answers(loopback.base_url, questions, concurrency=1, retries=0)
        assert [one.finish_reason for one in got].count("error") == 14
    with serve(faults=[[500, 80]]) as loopback:
        with pytest.raises(OutsideError, match=r"(?s)HTTP 500.*same command again") as raised:
            answers(loopback.base_url, questions, concurrency=1, retries=1)
        assert raised.value.where == loopback.base_url
        assert len(loopback.requests()) == 16


def test_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused port is an OutsideError within seconds that names the address and how to go on."""
    monkeypatch.setattr(server, "BACKOFF", 0.5)
    with socket.socket() as taken:  # bound, never listening: nobody else can have the port meanwhile
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        began = time.monotonic()
        with pytest.raises(OutsideError, match=r"(?s)Connect.*start the server and run the same") as raised:
            answers(address, ask("a"))
    assert time.monotonic() - began < 5 and raised.value.where == address


def test_a_host_without_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name that does not resolve is an OutsideError, at once."""

    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(OutsideError, match=r"nowhere\.invalid"):
        answers("http://nowhere.invalid/v1", ask("a"))


def test_a_server_that_dies_ends_the_run() -> None:
    """A server that stops listening half-way is an OutsideError, even when few requests were left."""
    with serve(own_process=True) as loopback:
        with open_engine("server", Model("small"), {"base_url": loopback.base_url, "concurrency": 2}) as engine:
            completions = engine.generate(ask("a", "b", "c", "d"), {})
            assert next(completions).text
            loopback.process.kill()
            loopback.process.wait()
            with pytest.raises(OutsideError):
                list(completions)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_is_an_error_row(status: int) -> None:
    """A request the server cannot take is a row with the server's words, asked once."""
    with serve(faults=[[status, 1]]) as loopback:
        assert answers(loopback.base_url, ask("a"))[0].error == f"HTTP {status}: a fault on demand"
        assert len(loopback.requests()) == 1


def test_a_prompt_that_is_too_long_is_an_error_row() -> None:
    """An over-long prompt fails alone, with the server's message cut to 300 characters."""
    with serve(max_context=10) as loopback:
        got = answers(loopback.base_url, ask("short", "long " * 50))
    assert got[0].text == "reply to short" and got[1].text is None
    assert re.fullmatch("HTTP 400: 250 characters are more than the 10 of this model.{1,290}", got[1].error or "")
    assert len(got[1].error or "") == len("HTTP 400: ") + 300


def test_a_key_goes_to_the_server_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is sent as a bearer, stands in no fact, and a refusal names its variable instead of it."""
    monkeypatch.setenv("MY_KEY", SECRET + "\n")
    with serve(require_key=SECRET) as loopback:
        runtime = {"base_url": loopback.base_url, "api_key_env": "MY_KEY"}
        with open_engine("server", Model("small"), runtime) as engine:
            assert [one.text for one in engine.generate(ask("a"), {})] == ["reply to a"]
        assert loopback.requests()[0]["key"] == f"Bearer {SECRET}" and SECRET not in str(engine.facts)
    with serve(require_key="another") as loopback:
        with pytest.raises(UserError, match=r"(?s)HTTP 401.*MY_KEY") as raised:
            answers(loopback.base_url, ask("a"), api_key_env="MY_KEY")
        assert SECRET not in str(raised.value) and len(loopback.requests()) == 1


def test_which_credentials_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """OPENAI_API_KEY is sent where it is set; an address with a user sends that instead, and no fact tells it."""
    with serve() as loopback:
        with_user = loopback.base_url.replace("http://", "http://me:hush@")
        answers(loopback.base_url, ask("a"))
        monkeypatch.setenv("OPENAI_API_KEY", SECRET)
        answers(loopback.base_url, ask("a"))
        with open_engine("server", Model("small"), {"base_url": with_user}) as engine:
            list(engine.generate(ask("a"), {}))
        assert engine.facts == {"engine": "server", "base_url": loopback.base_url, "model": "small"}
        answers(with_user, ask("a"), api_key_env="OPENAI_API_KEY")
        sent = [request["key"] for request in loopback.requests()]
    assert sent == [None, f"Bearer {SECRET}", "Basic bWU6aHVzaA==", f"Bearer {SECRET}"]


@pytest.mark.parametrize("status", [404, 405, 307])
def test_a_wrong_model_or_address(status: int) -> None:
    """A model or path the server does not know is a UserError that names both, and what the server has."""
    with serve(models={"big": {}}) as loopback:
        with pytest.raises(UserError, match=r"(?s)'small'.*known there: big.*base_url"):
            answers(loopback.base_url, ask("a"))
    with serve(faults=[[status, 1, {"Location": "/v1/chat/completions"}]]) as loopback:
        with pytest.raises(UserError, match=f"(?s)HTTP {status}.*'small'.*base_url"):
            answers(loopback.base_url, ask("a"))


def test_facts_are_what_the_server_says_of_the_model() -> None:
    """The facts add what stands in the server's list of models, without what changes from start to start."""
    told = {"owned_by": "vllm", "root": "models/small-v2", "max_model_len": 2048, "created": 1, "permission": []}
    with serve(models={"small": told}) as loopback:
        with open_engine("server", Model("small"), {"base_url": loopback.base_url + "/"}) as engine:
            facts = {"engine": "server", "base_url": loopback.base_url, "model": "small"}
            assert engine.facts == facts | {"owned_by": "vllm", "root": "models/small-v2", "max_model_len": 2048}
    with serve(models={"small": {"root": "/home/me/small-v2"}}) as loopback:
        with open_engine("server", Model("small"), {"base_url": loopback.base_url}) as engine:
            assert "root" not in engine.facts


def test_how_an_answer_ends() -> None:
    """stop and length are kept; any other end, or no text, is an error row; counts that are not reported are null."""
    faults = [[fault, 1] for fault in ("null", "tool_calls", "content_filter", "thinking", "blank", "odd", "half")]
    with serve(faults=faults) as loopback:
        got = answers(loopback.base_url, ask(*["one two"] * 7), {"max_tokens": 3}, concurrency=1)
        assert len(loopback.requests()) == 7
    assert [one.error for one in got[:3]] == [
        "no text in the reply, finish_reason length",
        "finish_reason tool_calls",
        "finish_reason content_filter",
    ]
    assert [one.prompt_tokens for one in got[:3]] == [7, 7, 7]
    assert got[3] == Completion(3, "reply to one", "length", None, 7, 3)
    assert got[4:6] == [Completion(index, "reply to one", "length", None, None, None) for index in (4, 5)]
    assert got[6].text == "half a smile ?"  # a lone surrogate, which no file of UTF-8 could hold


def test_nothing_is_asked_with_nothing() -> None:
    """A conversation without messages or with an empty one fails without a request."""
    with serve() as loopback:
        got = answers(loopback.base_url, [Conversation([], 0), *ask(" \n", "a")])
        assert [one.error for one in got] == ["empty conversation"] * 2 + [None]
        assert len(loopback.requests()) == 1


def test_concurrency_is_a_bound_that_is_used() -> None:
    """Never more than `concurrency` requests are in flight, and so many are."""
    with serve(latency=0.05) as loopback:
        answers(loopback.base_url, ask(*map(str, range(30))), concurrency=5)
        assert loopback.log()["most_in_flight"] == 5


def test_retry_after_is_honoured() -> None:
    """The next try waits as long as the server asks."""
    with serve(faults=[[429, 1, {"Retry-After": "1"}]]) as loopback:
        began = time.monotonic()
        assert answers(loopback.base_url, ask("a"))[0].text
        assert 1.0 <= time.monotonic() - began < 3


def test_how_long_a_retry_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits double, Retry-After may be seconds or a date and is capped at a minute, and nonsense is passed over."""
    monkeypatch.setattr(server, "BACKOFF", 0.5)
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(days=30), usegmt=True)
    cases = [(0, None, 0.5), (3, None, 4), (9999, None, 60), (4, "2", 2), (0, "0", 0), (0, "86400", 60), (0, past, 0)]
    for tries, asked, seconds in [*cases, (1, "soon", 1), (0, "-5", 0.5)]:
        assert seconds <= server._pause(tries, asked) <= seconds + 0.5, asked
    assert 28 <= server._pause(0, soon) <= 30.5


def test_conversations_are_pulled_as_they_are_needed() -> None:
    """An endless iterator is pulled at most `concurrency` ahead of the completions taken from it."""
    pulled = itertools.count(1)
    taken = 0

    def endless() -> Iterator[Conversation]:
        for number in pulled:
            assert number - taken <= 4
            yield ask(f"q{number}")[0]

    with serve() as loopback:
        with open_engine("server", Model("small"), {"base_url": loopback.base_url, "concurrency": 4}) as engine:
            for taken, one in enumerate(engine.generate(endless(), {}), 1):
                assert one.text
                if taken == 60:
                    break
        assert len(loopback.requests()) <= 64


def test_a_broken_iterator_is_heard() -> None:
    """An exception in the conversations reaches whoever consumes the completions."""

    def broken() -> Iterator[Conversation]:
        yield from ask("a")
        raise RuntimeError("the pool ended in fire")

    with serve() as loopback, pytest.raises(RuntimeError, match="fire"):
        answers(loopback.base_url, broken(), concurrency=8)


@pytest.mark.parametrize("how", ["closed", "left alive", "many refused"])
def test_leaving_early_is_clean(how: str, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder) -> None:
    """Leaving half-way cancels what is in flight: no task is left pending, no session open, no exception unseen."""
    caplog.set_level(logging.DEBUG, "asyncio")
    with serve(latency=0.2, faults=[[None, 1], [404 if how == "many refused" else "slow", 20]]) as loopback:
        with open_engine("server", Model("small"), {"base_url": loopback.base_url, "concurrency": 8}) as engine:
            completions = engine.generate(ask(*map(str, range(20))), {})
            assert next(completions).text
            if how == "closed":
                completions.close()  # type: ignore[attr-defined]
                assert asyncio.all_tasks(engine.loop) == set()  # type: ignore[attr-defined]
                assert [one.text for one in engine.generate([], {})] == []
            if how == "many refused":
                time.sleep(0.4)  # until all refusals have arrived, to be read at once
                with pytest.raises(UserError):
                    list(completions)
    assert engine.session.closed and engine.loop.is_closed()  # type: ignore[attr-defined]
    del completions, engine
    gc.collect()
    assert [line.getMessage() for line in caplog.records if line.levelno > logging.DEBUG] == []
    assert [str(warning.message) for warning in recwarn] == []


def test_an_engine_serves_again_and_side_by_side() -> None:
    """One engine takes one batch after another, and two at a time."""
    with serve() as loopback:
        with open_engine("server", Model("small"), {"base_url": loopback.base_url, "concurrency": 2}) as engine:
            assert [len(list(engine.generate(ask("a", "b", "c"), {}))) for _ in range(3)] == [3, 3, 3]
            pairs = list(zip(engine.generate(ask(*"abcdefg"), {}), engine.generate(ask(*"abcdefg"), {}), strict=True))
            assert [{one.index for one in side} for side in zip(*pairs, strict=True)] == [set(range(7))] * 2


@pytest.mark.parametrize(
    "runtime, says",
    [
        ({}, ".base_url: the server engine needs an http"),
        ({"base_url": "localhost:8000/v1"}, "http"),
        ({"base_url": "http://[::1/v1"}, "http"),
        ({"base_url": "http://localhost:99999/v1"}, "http"),
        ({"base_url": "http://localhost/v1?key=x"}, "http"),
        ({"concurency": 3}, "cure: did you mean 'concurrency'"),
        ({"concurrency": 0}, ".concurrency: 0"),
        ({"concurrency": 2.5}, "cure: a whole number from 1"),
        ({"retries": True}, ".retries: True"),
        ({"timeout": "600"}, ".timeout: '600'"),
        ({"timeout": float("inf")}, ".timeout: inf"),
        ({"api_key_env": "NO_SUCH_KEY"}, "NO_SUCH_KEY is not set.*export NO_SUCH_KEY"),
        ({"api_key_env": SECRET}, r"api_key_env: this is not the name of an environment variable\n"),
    ],
)
def test_settings_are_checked(runtime: dict[str, Any], says: str) -> None:
    """A runtime key that is missing, unknown or unfit is refused before anything is sent, with its place and a cure."""
    address = {} if "base_url" in runtime or not runtime else {"base_url": "http://localhost:8000/v1"}
    with pytest.raises(UserError, match=f"(?s)^runtime.*{says}") as raised:
        with open_engine("server", Model("m"), address | runtime):
            pass
    assert SECRET not in str(raised.value)


def test_sampling_cannot_change_the_shape_of_a_reply() -> None:
    """Keys that the engine sets itself, or whose replies it could not read, are refused."""
    with serve() as loopback:
        for key in ("n", "stream", "seed"):
            with pytest.raises(UserError, match=f"'{key}'"):
                answers(loopback.base_url, ask("a"), {key: 2})
        assert loopback.requests() == []
