"""The loopback Hub takes what the real clients send, answers as they need it, and breaks where it is told to.

pytest tests/test_hub_server.py
"""

from __future__ import annotations

import http.client
import io
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_card import card, card_errors
from hub_server import Fault, Hub, client_env, serving

pytestmark = pytest.mark.slow  # the double itself; what rests on it is tested every time

CLIENT = """
import json, os, sys
out, sys.stdout = sys.stdout, sys.stderr
import datasets, polars
from huggingface_hub import CommitOperationAdd as Add, CommitOperationDelete as Delete, HfApi, snapshot_download
from huggingface_hub import HfFileSystem
api, reader, stranger, nobody, liar = (HfApi(token=t) for t in ("hf_me", "hf_reader", "hf_stranger", False, "hf_bad"))
D = {"repo_type": "dataset"}

def push(repo, files, by=api, message="push", **more):
    adds = [Add(name, content.encode() if isinstance(content, str) else content) for name, content in files.items()]
    return by.create_commit(repo, adds, commit_message=message, **D, **more)

for line in sys.stdin:
    try:
        answer = [None, eval(line)]
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        answer = [type(error).__name__, status or str(error)]
    print(json.dumps(answer, default=str), file=out, flush=True)
"""
CARD = """---
license: apache-2.0
language: en
tags: [dpo, preference]
size_categories: n<1K
configs:
- config_name: default
  default: true
  data_files: [{split: train, path: data/train-*.parquet}]
- config_name: ladder
  data_files: [{split: train, path: ladder/train-*.parquet}]
---
See https://arxiv.org/abs/2507.06187.
"""


class Client:
    """The real clients in a process of their own, which evaluates what it is given."""

    def __init__(self, hub: Hub, home: Path) -> None:
        command, env = [sys.executable, "-W", "ignore", "-c", CLIENT], client_env(hub.url, home, "hf_me")
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tried(self, code: str) -> list[Any]:
        """Error and status (or text), or None and the value."""
        self.process.stdin.write(code + "\n")
        self.process.stdin.flush()
        return list(json.loads(self.process.stdout.readline()))

    def __call__(self, code: str) -> Any:
        error, value = self.tried(code)
        assert error is None, (error, value)
        return value


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, Client]]:
    pytest.importorskip("datasets", reason="the extra [hub] is not installed")
    with serving() as hub:
        hub.user("hf_me", orgs=("lab",))
        hub.user("hf_reader", role="read")
        hub.user("hf_stranger", name="you")
        client = Client(hub, tmp_path_factory.mktemp("home"))
        with client.process:
            yield hub, client
            client.process.stdin.close()


@pytest.fixture
def hub(running: tuple[Hub, Client]) -> Hub:
    hub = running[0]
    hub.repos.clear()
    hub.faults.clear()
    hub.log.clear()
    hub.received.clear()
    hub.part_size = None
    hub.holding.clear()
    hub.release.clear()
    return hub


@pytest.fixture
def client(running: tuple[Hub, Client]) -> Client:
    return running[1]


def parquet(*prompts: str) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"prompt": list(prompts)}), sink)
    return sink.getvalue()


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def oid(content: bytes) -> str:
    return sha256(content).hexdigest()


def test_a_large_file_and_a_card_become_one_commit(hub: Hub, client: Client, tmp_path: Path) -> None:
    """29 MB go over the line once, the same push again sends and commits nothing, a stale parent is refused."""
    big = noise(29_000_000)
    (tmp_path / "big.parquet").write_bytes(big)
    client("api.create_repo('me/big', private=True, **D)")
    start = client("api.dataset_info('me/big').sha")
    files = f"{{'README.md': {CARD!r}, 'data/train-0.parquet': {str(tmp_path / 'big.parquet')!r}}}"
    add = f"[Add(name, content if name != 'README.md' else content.encode()) for name, content in {files}.items()]"
    first = client(f"api.create_commit('me/big', {add}, commit_message='one', parent_commit={start!r}, **D).oid")
    assert hub.files("me/big", first) == hub.files("me/big", start) | {
        "README.md": CARD.encode(),
        "data/train-0.parquet": big,
    }
    assert hub.received == {oid(big): 29_000_000}
    again = client(f"api.create_commit('me/big', {add}, commit_message='two', **D).oid")
    assert again == first
    assert [line for line in hub.log if "/commit/" in line] == ["POST /api/datasets/me/big/commit/main"]
    assert hub.received == {oid(big): 29_000_000}
    assert client.tried(f"push('me/big', {{'x': 'x'}}, parent_commit={start!r})") == ["HfHubHTTPError", 412]
    assert "x" not in hub.files("me/big")
    assert client(f"push('me/big', {{'x': 'x'}}, parent_commit={first!r}).oid") == hub.repos["me/big"].branches["main"]
    titles = client("[(c.title, c.authors) for c in api.list_repo_commits('me/big', **D)]")
    assert titles == [["push", ["me"]], ["one", ["me"]], ["initial commit", ["me"]]]


def test_what_was_pushed_is_described(hub: Hub, client: Client) -> None:
    """Info, tree and paths give sizes, ids and the card's facts; large files have the sha256 of their content."""
    data, readme = parquet("a"), CARD.encode()
    client("api.create_repo('me/pool', **D)")
    client(f"push('me/pool', {{'README.md': {CARD!r}, 'data/x/train-0.parquet': {data!r}, 'empty.txt': ''}})")
    info = client("vars(api.dataset_info('me/pool', files_metadata=True))")
    assert (info["private"], info["gated"], info["sha"]) == (False, False, hub.repos["me/pool"].branches["main"])
    assert "license: apache-2.0" in info["card_data"]
    assert info["tags"] == [
        "dpo", "preference", "license:apache-2.0", "language:en", "size_categories:n<1K", "arxiv:2507.06187"
    ]  # fmt: skip
    tree = client("[(e.path, getattr(e, 'size', None), getattr(e, 'lfs', None) and e.lfs.sha256)"
                  " for e in api.list_repo_tree('me/pool', recursive=True, **D)]")  # fmt: skip
    assert sorted(tree)[1:] == [
        ["README.md", len(readme), None],
        ["data", None, None],
        ["data/x", None, None],
        ["data/x/train-0.parquet", len(data), oid(data)],
        ["empty.txt", 0, None],
    ]
    assert client("[e.path for e in api.list_repo_tree('me/pool', 'data', **D)]") == ["data/x"]
    paths = "[(e.path, e.blob_id) for e in api.get_paths_info('me/pool', ['empty.txt', 'none'], **D)]"
    assert client(paths) == [["empty.txt", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"]]  # git's id of nothing
    sizes = client("{s.rfilename: (s.size, s.lfs and s.lfs.sha256)"
                   " for s in api.dataset_info('me/pool', files_metadata=True).siblings}")  # fmt: skip
    assert sizes["data/x/train-0.parquet"] == [len(data), oid(data)]
    assert client("(HfFileSystem().info('datasets/me/pool/README.md')['size'])") == len(readme)


def test_the_clients_read_what_was_pushed(hub: Hub, client: Client, tmp_path: Path) -> None:
    """Default and named config, a revision, streaming, a snapshot by tag and polars over the resolve address."""
    client("api.create_repo('me/pool', **D)")
    train, ladder = parquet("a", "b"), parquet("c")
    files = {"data/train-0.parquet": train, "ladder/train-0.parquet": ladder}
    client(f"push('me/pool', {files | {'README.md': CARD}!r})")
    client("api.create_tag('me/pool', tag='v1', **D)")
    client(f"push('me/pool', {{'data/train-0.parquet': {parquet('new')!r}}})")
    assert client("datasets.load_dataset('me/pool', split='train')['prompt'][:]") == ["new"]
    assert client("datasets.load_dataset('me/pool', 'ladder', split='train')['prompt'][:]") == ["c"]
    assert client("datasets.load_dataset('me/pool', revision='v1', split='train')['prompt'][:]") == ["a", "b"]
    stream = "list(datasets.load_dataset('me/pool', streaming=True, revision='v1', split='train'))"
    assert client(stream) == [{"prompt": "a"}, {"prompt": "b"}]
    folder = Path(client(f"snapshot_download('me/pool', revision='v1', local_dir={str(tmp_path)!r}, **D)"))
    assert (folder / "data/train-0.parquet").read_bytes() == train
    scan = f"polars.scan_parquet('{hub.url}/datasets/me/pool/resolve/v1/data/train-0.parquet').collect()"
    assert client(scan + "['prompt'].to_list()") == ["a", "b"]
    push = "datasets.Dataset.from_dict({'prompt': ['x']}).push_to_hub('me/pool', 'other')"
    client(push)
    assert client("datasets.load_dataset('me/pool', 'other', split='train')['prompt'][:]") == ["x"]


def test_tokens_decide_who_reads_and_writes(hub: Hub, client: Client) -> None:
    """Roles, namespaces and private repositories; each refusal is the error that the real Hub's answer raises."""
    client("api.create_repo('me/open', **D)")
    client("api.create_repo('lab/shared', **D)")
    client("api.create_repo('me/closed', private=True, **D)")
    assert client("[by.whoami()['auth']['accessToken']['role'] for by in (api, reader)]") == ["write", "read"]
    assert client("api.whoami()['orgs'][0]['name']") == "lab"
    assert client.tried("liar.whoami()") == ["HfHubHTTPError", 401]
    line = http.client.HTTPConnection(hub.url.removeprefix("http://"))
    line.request("GET", "/api/whoami-v2")
    assert line.getresponse().status == 401
    line.close()
    for by, status in (("reader", 403), ("stranger", 403), ("nobody", 401), ("liar", 401)):
        assert client.tried(f"{by}.create_repo('me/new', **D)") == ["HfHubHTTPError", status], by
        assert client.tried(f"push('me/open', {{'x': 'x'}}, {by})") == ["HfHubHTTPError", status], by
        assert client.tried(f"{by}.create_branch('me/open', branch='x', **D)") == ["HfHubHTTPError", status], by
    for by, status in (("stranger", 404), ("nobody", 401)):
        assert client.tried(f"{by}.dataset_info('me/closed')") == ["RepositoryNotFoundError", status]
        assert client.tried(f"{by}.dataset_info('me/none')") == ["RepositoryNotFoundError", status]
    assert client("reader.dataset_info('me/closed').private") is True
    client("api.update_repo_settings('me/closed', private=False, **D)")
    assert client("nobody.dataset_info('me/closed').private") is False
    assert set(hub.repos) == {"me/open", "lab/shared", "me/closed"}


def test_repositories_branches_and_tags_come_and_go(hub: Hub, client: Client) -> None:
    """What is there already answers 409 and what is not there 404; main stays; a model is not a dataset."""
    made = "api.create_repo('me/pool', exist_ok={}, **D)"
    assert client(made.format(False)).endswith("/datasets/me/pool")
    assert client.tried(made.format(False)) == ["HfHubHTTPError", 409]
    client(made.format(True))
    client("api.create_repo('me/pool')")
    assert set(hub.repos) == {"me/pool", "models/me/pool"}
    client("api.create_branch('me/pool', branch='a/b', **D)")
    client("push('me/pool', {'x': 'on the branch'}, revision='a/b')")
    assert hub.files("me/pool", "a/b")["x"] == b"on the branch"
    assert "x" not in hub.files("me/pool")
    assert client("api.file_exists('me/pool', 'x', revision='a/b', **D)") is True
    client("api.create_tag('me/pool', tag='v1', revision='a/b', **D)")
    assert client.tried("api.create_tag('me/pool', tag='v1', **D)") == ["HfHubHTTPError", 409]
    assert client.tried("api.create_tag('me/pool', tag='v2', revision='no', **D)") == ["RevisionNotFoundError", 404]
    assert client.tried("push('me/pool', {'x': 'y'}, revision='no')") == ["RevisionNotFoundError", 404]
    refs = client("[[(r.name, r.target_commit) for r in of] for r in [api.list_repo_refs('me/pool', **D)]"
                  " for of in (r.branches, r.tags)]")  # fmt: skip
    assert [[name for name, _ in of] for of in refs] == [["main", "a/b"], ["v1"]]
    assert refs[1][0][1] == refs[0][1][1] == hub.repos["me/pool"].branches["a/b"]
    client("api.delete_branch('me/pool', branch='a/b', **D)")
    client("api.delete_tag('me/pool', tag='v1', **D)")
    assert client.tried("api.delete_tag('me/pool', tag='v1', **D)") == ["RevisionNotFoundError", 404]
    assert client.tried("api.delete_branch('me/pool', branch='main', **D)") == ["HfHubHTTPError", 403]
    client("api.delete_repo('me/pool', **D)")
    assert set(hub.repos) == {"models/me/pool"}
    assert client.tried("api.delete_repo('me/pool', **D)") == ["RepositoryNotFoundError", 404]


def test_files_and_folders_are_deleted(hub: Hub, client: Client) -> None:
    """With additions in one commit; what is not there refuses the whole of it."""
    hub.commit("me/pool", {"a": b"1", "b/c": b"2", "b/d.parquet": b"3", "bc": b"4"})
    client("api.create_commit('me/pool', [Delete('a'), Delete('b/'), Add('e', b'5')], commit_message='m', **D)")
    assert hub.files("me/pool") == {"bc": b"4", "e": b"5"}
    gone = "api.create_commit('me/pool', [Delete('bc'), Delete('{}')], commit_message='m', **D)"
    for path in ("a", "b/"):
        assert client.tried(gone.format(path)) == ["RemoteEntryNotFoundError", 404]
    assert hub.files("me/pool") == {"bc": b"4", "e": b"5"}


def test_a_pull_request_leaves_main_alone(hub: Hub, client: Client) -> None:
    """Anyone who may write somewhere can open one; it has a number and is a revision to read and commit to."""
    hub.commit("me/pool", {"a": b"1"})
    url = f"{hub.url}/datasets/me/pool/discussions"
    opened = "[(c.pr_num, c.pr_revision, c.pr_url) for c in [push('me/pool', {'b.parquet': b'2'}, %s, create_pr=True)]]"
    assert client(opened % "api") == [[1, "refs/pr/1", f"{url}/1"]]
    assert client(opened % "stranger") == [[2, "refs/pr/2", f"{url}/2"]]
    assert client.tried(opened % "reader") == ["HfHubHTTPError", 403]
    client("push('me/pool', {'c': '3'}, revision='refs/pr/1')")
    assert hub.files("me/pool") == {"a": b"1"}
    assert client("sorted(s.rfilename for s in api.dataset_info('me/pool', revision='refs/pr/1').siblings)") == [
        "a", "b.parquet", "c"
    ]  # fmt: skip
    assert client("open(api.hf_hub_download('me/pool', 'c', revision='refs/pr/1', **D)).read()") == "3"
    pulls = "[r.ref for r in api.list_repo_refs('me/pool', include_pull_requests=True, **D).pull_requests]"
    assert client(pulls) == ["refs/pr/1", "refs/pr/2"]


def test_a_bad_card_stops_a_push_before_its_files(hub: Hub, client: Client) -> None:
    """The client is told by the check of the header, and nothing was uploaded."""
    client("api.create_repo('me/pool', **D)")
    error, said = client.tried("push('me/pool', {'README.md': '---\\ntags: dpo\\n---', 'x.parquet': b'1'})")
    assert error == "ValueError"
    assert '"tags" must be a list of strings' in said
    assert not hub.received
    assert client.tried("push('me/pool', {'README.md': 'no header'})")[0] is None


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("license: apache-2.0", ""),
        ("license: Apache 2.0", '"license"'),
        ("license: [mit, gemma]", ""),
        ("language: no", '"language"'),  # YAML: false
        ("language: [en, zh-Hant]", ""),
        ("tags: [1]", '"tags"'),
        ("size_categories: 1K<n<10K", ""),
        ("size_categories: 1000", '"size_categories"'),
        ("- a", "a mapping"),
        ("a: [", "YAML"),
        ("dataset_info: x", '"dataset_info"'),
        ("configs: {config_name: a}", '"configs" must'),
        ("configs: [{data_files: a}]", '"configs" must'),
        ("configs: [{config_name: a, data_files: x.parquet}, {config_name: b}]", ""),
        ("configs: [{config_name: a}, {config_name: a}]", "twice"),
        ("configs: [{config_name: a, default: true}, {config_name: b, default: true}]", "more than one default"),
        ("configs: [{config_name: a, data_files: [{split: train}]}]", '"data_files" of a'),
        ("configs: [{config_name: a, data_files: [{split: a-b, path: x}]}]", '"data_files" of a'),
    ],
)
def test_the_header_of_a_card_is_checked(header: str, said: str) -> None:
    """Types and forms of what a program might write wrongly; a right one is let through."""
    wrong = card_errors(f"---\n{header}\n---\ntext")
    assert len(wrong) == bool(said), wrong
    assert said in "".join(wrong)
    assert (card(f"---\n{header}\n---\n")[0] == {}) == bool(said)


def test_parts_of_a_large_file_become_one(hub: Hub, client: Client) -> None:
    """Where the Hub asks for parts: each is sent once, and a part that was refused once more."""
    data = noise(250_000)
    hub.commit("me/pool", {"a": b"1"})
    hub.part_size = 100_000
    client(f"push('me/pool', {{'x.parquet': {data!r}}})")
    assert hub.files("me/pool")["x.parquet"] == data
    assert [line.rsplit("/")[-1] for line in hub.log if line.startswith("PUT")] == ["1", "2", "3"]
    assert hub.received == {oid(data): 250_000}


def test_an_upload_that_is_cut_is_sent_again(hub: Hub, client: Client) -> None:
    """The client tries again by itself; the Hub had half of 30 MB, then all of it."""
    data = noise(30_000_000)
    hub.commit("me/pool", {"a": b"1"})
    hub.faults.append(Fault("PUT /lfs/", cut=0.5))
    client(f"push('me/pool', {{'x.parquet': __import__('random').Random({len(data)}).randbytes({len(data)})}})")
    assert hub.files("me/pool")["x.parquet"] == data
    assert hub.received == {oid(data): 45_000_000}
    assert hub.faults[0].times == 0


def test_answers_are_injected(hub: Hub, client: Client) -> None:
    """A status so many times, after so many passes, with its headers: the client waits as it is told and goes on."""
    hub.commit("me/pool", {"a": b"1"})
    hub.faults.append(Fault("POST /api/datasets/.*/preupload", status=429, headers={"Retry-After": "1"}))
    hub.faults.append(Fault("POST /api/datasets/.*/commit", status=503, skip=1))
    began = time.monotonic()
    client("push('me/pool', {'b': '2'})")
    assert 1 < time.monotonic() - began < 10
    assert [line.split("/")[5] for line in hub.log if line.startswith("POST")] == ["preupload", "preupload", "commit"]
    assert client.tried("push('me/pool', {'c': '3'})") == ["HfHubHTTPError", 503]
    client("push('me/pool', {'c': '3'})")
    assert hub.files("me/pool") == {"a": b"1", "b": b"2", "c": b"3"}


def test_a_commit_that_is_not_heard_of_may_have_landed(hub: Hub, client: Client) -> None:
    """Dropped before, it did nothing; dropped after, it is there: the client gets the same error."""
    hub.commit("me/pool", {"a": b"1"})
    hub.faults.append(Fault("POST .*/commit/", drop=True))
    assert client.tried("push('me/pool', {'b': '2'})")[0] == "RemoteProtocolError"
    assert hub.files("me/pool") == {"a": b"1"}
    hub.faults.append(Fault("POST .*/commit/", after=True))
    assert client.tried("push('me/pool', {'b': '2'})")[0] == "RemoteProtocolError"
    assert hub.files("me/pool") == {"a": b"1", "b": b"2"}


def test_a_client_killed_in_an_upload_can_go_on(hub: Hub, client: Client, tmp_path: Path) -> None:
    """A pause lets a test kill it; main is as it was, and of two files the one that came through is not sent again."""
    one, two = noise(200_000), noise(300_000)
    hub.commit("me/pool", {"a": b"1"})
    hub.faults.append(Fault("PUT /lfs/", skip=1, cut=0.5, hold=60))
    push = f"push('me/pool', {{'1.parquet': {one!r}, '2.parquet': {two!r}}}, num_threads=1)"
    with Client(hub, tmp_path).process as killed:
        killed.stdin.write(push + "\n")
        killed.stdin.flush()
        assert hub.holding.wait(30)
        killed.kill()
    hub.release.set()
    assert hub.files("me/pool") == {"a": b"1"}
    (came,) = hub.repos["me/pool"].objects
    cut = oid(one) if came == oid(two) else oid(two)
    client(push)
    assert hub.files("me/pool") == {"a": b"1", "1.parquet": one, "2.parquet": two}
    size = {oid(one): 200_000, oid(two): 300_000}
    assert hub.received == {came: size[came], cut: size[cut] * 3 // 2}


def test_bodies_come_in_chunks_too(hub: Hub) -> None:
    """Of a client that does not say how long they are; the line is kept for what follows."""
    line = http.client.HTTPConnection(hub.url.removeprefix("http://"))
    for content in ("tags: [a]", "tags: a"):
        body = json.dumps({"content": f"---\n{content}\n---\n"}).encode()
        line.request("POST", "/api/validate-yaml", iter([body[:9], body[9:]]), encode_chunked=True)
        answer = line.getresponse()
        assert (answer.status, len(json.loads(answer.read())["errors"])) == ((200, 0), (400, 1))[content == "tags: a"]
    line.close()


def test_tokens_are_seen_where_they_belong_and_told_of_elsewhere(hub: Hub, client: Client) -> None:
    """The clients' tokens are in one header; one in a file's content or in an address is found."""
    hub.leaks.clear()
    hub.commit("me/pool", {"a": b"1"})
    client("push('me/pool', {'b': '2', 'c.parquet': b'3'})")
    assert "Bearer hf_me" in hub.authorizations
    assert hub.leaks == []
    client("push('me/pool', {'b': 'hf_me'})")
    client("push('me/pool', {'b': '3'}, message='hf_reader')")
    client.tried("api.dataset_info('me/pool', revision='hf_stranger')")
    assert hub.leaks == [
        "POST /api/datasets/me/pool/commit/main", "POST /api/datasets/me/pool/commit/main",
        "GET /api/datasets/me/pool/revision/hf_stranger",
    ]  # fmt: skip
