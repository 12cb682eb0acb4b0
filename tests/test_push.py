"""A push is one commit that holds exactly the folder, is read back, and ends right whatever the Hub does.

pytest tests/test_push.py
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_server import Fault, Hub, client_env, serving
from project import Project
from tiny_model import build
from warm import Warm, warm

REPO, TOKEN = "me/delta-pairs", "hf_SecretSecretSecret"
ACCEPT = {"prompts/own": "our own", "responses/strong": "scripted", "responses/weak": "scripted"}
CARD = "README.md"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder beside its recipe, made once; tests work on copies."""
    project = Project(tmp_path_factory.mktemp("finished"))
    project.recipe["push"] = {"repo": REPO, "accept": ACCEPT}
    project.run()
    return project.folder


class Pusher:
    """A copy of the run, a Hub, and the command over it."""

    def __init__(self, folder: Path, hub: Hub, fast: Warm) -> None:
        self.folder, self.hub, self.run, self.fast = folder, hub, folder / "runs" / "tiny", fast
        self.said = ""

    def __call__(self, *arguments: str, code: int = 0, token: str | None = TOKEN, command: str = "push") -> str:
        environment = {"COLUMNS": "100", "HF_TOKEN": token or ""}
        assert command in ("push", "verify"), "what computes with threads does not work in a fork"
        ended = self.fast(self.folder, command, *(arguments or ("runs/tiny",)), environment=environment)
        self.said += ended.output
        assert ended.code == code, f"exit {ended.code}, not {code}:\n{ended.output}"
        assert "Traceback" not in ended.output
        return ended.output

    def slowly(self, *arguments: str, code: int = 0) -> str:
        """The command in a process of its own; what it printed."""
        process = self.alone("", *arguments)
        out, _ = process.communicate(timeout=120)
        assert process.returncode == code, out
        return out

    def alone(self, code: str = "", *arguments: str) -> subprocess.Popen[str]:
        """The command in a process of its own, after some `code`."""
        start = f"import sys\n{code}\nsys.argv = ['deltadata', *{arguments!r}]\nfrom deltadata.cli import main\nmain()"
        return subprocess.Popen(
            [sys.executable, "-c", start],
            cwd=self.folder,
            env=client_env(self.hub.url, self.folder / "home", TOKEN),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @property
    def local(self) -> dict[str, bytes]:
        """The folder as it should be on the Hub."""
        folder = self.run / "dataset"
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    @property
    def remote(self) -> dict[str, bytes]:
        return {name: data for name, data in self.hub.files(REPO).items() if name != ".gitattributes"}

    def commits(self) -> int:
        """Commits that changed anything."""
        return sum(bool(re.search(r"/commit/", line)) for line in self.hub.log)

    def record(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.run / "record.json").read_text())["tables"]
        return told

    def no_token_anywhere(self) -> bool:
        """Neither in what was printed, nor in any file of the project and the caches, nor elsewhere in a request."""
        files = (p for p in self.folder.parent.parent.rglob("*") if p.is_file() and not p.is_symlink())
        written = any(TOKEN.encode() in path.read_bytes() for path in files)
        return TOKEN not in self.said and not written and not self.hub.leaks


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, Warm]]:
    with serving() as hub, warm(client_env(hub.url, tmp_path_factory.mktemp("home"))) as fast:
        yield hub, fast


@pytest.fixture
def push(finished: Path, loaded: tuple[Hub, Warm], tmp_path: Path) -> Pusher:
    shutil.copytree(finished, tmp_path / "p")
    loaded[0].reset()
    loaded[0].user(TOKEN)
    return Pusher(tmp_path / "p", *loaded)


READ_BACK = """
import json, sys
import datasets, polars as pl
datasets.disable_progress_bars()
repo, url = sys.argv[1:]
found = {config: {split: rows.to_list() for split, rows in datasets.load_dataset(repo, config).items()}
         for config in ("default", "ladder")}
streamed = {config: {split: list(rows) for split, rows in datasets.load_dataset(repo, config, streaming=True).items()}
            for config in ("default", "ladder")}
lazy = pl.scan_parquet(f"{url}/datasets/{repo}/resolve/main/data/default/train-00000-of-00001.parquet")
print(json.dumps([found, streamed, lazy.select("prompt_id").collect()["prompt_id"].to_list()]))
"""


def test_what_is_pushed_is_what_lies_there_and_loads(push: Pusher):
    """One commit, file for file; a clean process loads both configs, streamed or not; polars reads it by address."""
    push("--repo", REPO, "--public")

    assert push.remote == push.local
    assert push.commits() == 1
    kept = push.record()["push"]["facts"]
    assert kept["commit"] == push.hub.repos[REPO].sha("main") and [row["differs"] for row in kept["proof"]] == [""] * 6
    environment = client_env(push.hub.url, push.folder / "clean")
    command = [sys.executable, "-c", READ_BACK, REPO, push.hub.url]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=push.folder)
    loaded, streamed, by_polars = json.loads(ended.stdout)
    local = push.run / "dataset" / "data"
    import pyarrow.parquet as pq

    for config, splits in loaded.items():
        for split, rows in splits.items():
            assert rows == pq.read_table(local / config / f"{split}-00000-of-00001.parquet").to_pylist()
    assert streamed == loaded and sum(map(len, loaded["default"].values())) == 40
    assert by_polars == [row["prompt_id"] for row in loaded["default"]["train"]]
    assert push.no_token_anywhere()


def test_a_dry_run_lists_the_very_tree_and_sends_nothing(push: Pusher):
    """Its files, with sizes, are those that a push would send; the Hub hears nothing."""
    said = push("runs/tiny", "--repo", REPO, "--dry-run", token=None)

    before = push.local
    assert push.hub.log == []
    for name, data in before.items():
        assert re.search(rf"{re.escape(name)}\W+{len(data):,}\b", said), name
    push("runs/tiny", "--repo", REPO)
    assert push.remote == before


def test_it_is_private_unless_it_is_to_be_public(push: Pusher):
    """A new repository is private; `--public` opens it; a private push never goes to a public repository."""
    push("--repo", REPO)
    assert push.hub.repos[REPO].private
    push("runs/tiny", "--public")
    assert not push.hub.repos[REPO].private

    said = push("runs/tiny", code=2)

    assert "the repository is public" in said and "--public" in said


def test_nothing_is_sent_twice(push: Pusher):
    """An equal second push makes no commit and uploads no byte."""
    push("--repo", REPO)
    received, commits = dict(push.hub.received), push.commits()

    push("--repo", REPO)

    assert (dict(push.hub.received), push.commits()) == (received, commits)


def test_branch_tag_and_pull_request(push: Pusher):
    """Each goes where it is asked to and is proved there; a tag that is taken is refused before anything is sent."""
    push("runs/tiny", "--branch", "next", "--tag", "v1")
    assert "data/default/train-00000-of-00001.parquet" not in push.hub.files(REPO)
    assert push.hub.files(REPO, "v1") == push.hub.files(REPO, "next")
    push("runs/tiny", "--branch", "next", "--tag", "v1")  # again: there already, and the same

    said = push("runs/tiny", "--tag", "v1", code=2)
    assert "tag 'v1' is there already" in said and "data/" not in "".join(push.remote)

    push("runs/tiny", "--create-pr")
    assert push.remote == {} and len(push.hub.repos[REPO].pulls) == 1


def test_another_runs_data_is_refused_without_replace(push: Pusher):
    """Files of somebody else, another run's record, other columns: nothing is touched before `--replace`."""
    push.hub.commit(REPO, {"train.csv": b"a,b\n"})
    push.hub.repos[REPO].private = True
    said = push("--repo", REPO, code=2)
    assert "files that deltadata did not write (train.csv)" in said and "--replace" in said
    push("--repo", REPO, "--replace")
    assert push.remote == push.local

    record = json.loads(push.remote["record.json"])
    other = push.remote | {"record.json": json.dumps(record | {"recipe": "another"}).encode()}
    push.hub.commit(REPO, other)
    assert "holds the run 'another', not 'tiny'" in push("--repo", REPO, code=2)

    for split in record["tables"]["dataset"]["facts"]["splits"][:2]:  # train and test
        split["features"].pop()
    push.hub.commit(REPO, push.remote | {"record.json": json.dumps(record).encode()})
    assert re.search(r"other columns in the config 'default': \+delta_", push("--repo", REPO, code=2))


def test_files_of_an_older_push_go(push: Pusher):
    """A shard that is no longer written does not stay beside the new ones; what others put elsewhere does."""
    push("--repo", REPO)
    shard = "data/default/train-00001-of-00002.parquet"
    push.hub.commit(
        REPO, push.remote | {shard: push.remote["data/default/test-00000-of-00001.parquet"], "notes.md": b"x"}
    )

    push("--repo", REPO)

    assert push.remote == push.local | {"notes.md": b"x"}


@pytest.mark.parametrize(
    ("token", "role", "said"),
    [(None, "write", "no token for the Hub"), ("hf_bad", "write", "refuses"), (TOKEN, "read", "may only read")],
)
def test_without_the_right_token_nothing_happens(push: Pusher, token: str | None, role: str, said: str):
    """No token, one that nobody knows, one that may not write: exit 2 and the way to log in."""
    push.hub.user(TOKEN, role=role)

    out = push("--repo", REPO, code=2, token=token)

    assert said in out and "hf auth login" in out
    assert REPO not in push.hub.repos and TOKEN not in push.said


def test_no_right_in_the_namespace(push: Pusher):
    """Somebody else's name: exit 2, nothing made."""
    out = push("--repo", "others/pairs", code=2)

    assert "the Hub refuses" in out and "may write" in out and "others/pairs" not in push.hub.repos


FAULTS = {
    "409 on create": [Fault("POST /api/repos/create", status=409)],
    "412 on commit": [Fault("POST .*/commit/", status=412)],
    "429 on commit": [Fault("POST .*/commit/", status=429, headers={"Retry-After": "1"})],
    "429 on create": [Fault("POST /api/repos/create", status=429, headers={"RateLimit": '"api";r=0;t=1'})],
    "500 twice": [Fault("POST .*/commit/", status=500, times=2)],
    "502 on info": [Fault("GET /api/datasets/me/delta-pairs$", status=502)],
    "cut": [Fault("PUT /lfs/", cut=0.5)],
    "dropped": [Fault("POST .*/commit/", drop=True)],
    "landed unheard": [Fault("POST .*/commit/", after=True)],
    "503 on tag": [Fault("POST .*/tag/", status=503)],
    "read back cut": [Fault("GET /datasets/.*/resolve/.*parquet", drop=True)],
}


OFTEN = ("412 on commit", "429 on create", "landed unheard")  # the others are run by `make test-slow`


@pytest.mark.parametrize(
    "faults", [pytest.param(f, id=name, marks=[] if name in OFTEN else pytest.mark.slow) for name, f in FAULTS.items()]
)
def test_a_fault_that_passes_is_tried_again(push: Pusher, faults: list[Fault]):
    """Whatever happens once or twice, the end is the same: one commit, whole, proved."""
    if faults[0].status == 409:  # made by another process, a moment ago
        push.hub.commit(REPO, {".gitattributes": b""})
        push.hub.repos[REPO].private = True
    push.hub.faults += [Fault(**vars(fault)) for fault in faults]

    push("runs/tiny", "--tag", "v1")

    assert push.hub.faults[0].times == 0 or faults[0].status == 409
    assert push.remote == push.local and push.hub.files(REPO, "v1") == push.hub.files(REPO)
    assert len(push.hub.repos[REPO].commits) == 2 and push.no_token_anywhere()


def test_a_fault_that_stays_ends_with_3_and_leaves_the_hub_whole(push: Pusher):
    """The former commit stands, the message says what to do, and the same command completes later."""
    push("--repo", REPO)
    before = push.remote
    (push.run / "dataset" / "plots" / "deltas.png").write_bytes(b"another picture")
    record = push.run / "record.json"
    told = json.loads(record.read_text())
    told["tables"]["dataset"]["files"]["dataset/plots/deltas.png"] = 15
    record.write_text(json.dumps(told))
    push.hub.faults.append(Fault("POST .*/commit/", status=401, times=99))
    assert "may write" in push("--repo", REPO, code=2)
    push.hub.faults[0] = Fault("POST .*/commit/", status=501, times=99)

    out = push("--repo", REPO, code=3)

    assert "nothing was changed there" in out and push.remote == before
    push.hub.faults.clear()
    push("--repo", REPO)
    assert push.remote == push.local != before


def test_killed_in_the_middle_of_an_upload(push: Pusher):
    """Until the commit the Hub shows nothing of it; the next push sends only what had not arrived."""
    push.hub.faults.append(Fault("PUT /lfs/", cut=0.5, hold=60, skip=2))
    process = push.alone("", "push", "--repo", REPO)
    assert push.hub.holding.wait(60)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    push.hub.release.set()
    assert push.remote == {}
    arrived = {oid for oid in push.hub.repos[REPO].objects}
    before = dict(push.hub.received)
    assert arrived

    push("--repo", REPO)

    assert push.remote == push.local
    assert {oid: push.hub.received[oid] for oid in arrived} == {oid: before[oid] for oid in arrived}


def test_somebody_commits_meanwhile(push: Pusher):
    """A stale parent is looked at again: another run's data that came in between is not overwritten."""
    push("--repo", REPO)
    record = json.loads(push.remote["record.json"]) | {"recipe": "another"}
    theirs = push.remote | {"record.json": json.dumps(record).encode(), "data/x.parquet": b"theirs"}
    push.hub.repos[REPO].branches["main"] = push.hub.repos[REPO].commits[push.hub.repos[REPO].sha("main")].parent or ""
    push.hub.faults.append(Fault("POST .*/preupload/", hold=30))
    process = push.alone("", "push", "--repo", REPO)
    assert push.hub.holding.wait(60)
    push.hub.commit(REPO, theirs)
    push.hub.release.set()
    out, _ = process.communicate(timeout=60)

    assert process.returncode == 2 and "holds the run 'another'" in out
    assert push.remote == theirs


def test_a_full_disk_while_reading_back_says_so(push: Pusher):
    """The commit stands; the message says what is short, and `deltadata verify` can be asked later."""
    push("--repo", REPO)
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))"
    process = push.alone(limit, "verify", "runs/tiny")
    out, _ = process.communicate(timeout=60)

    assert process.returncode == 3 and "cannot write" in out and "Traceback" not in out
    push("runs/tiny", command="verify")


def test_verify_tells_what_was_changed_by_hand(push: Pusher):
    """Rows that differ from the record's are found, in a run's commit and in any repository; foreign ones refused."""
    push("--repo", REPO)
    assert "gives back what was written" in push("runs/tiny", command="verify")
    files = push.hub.files(REPO)
    train, test = (f"data/default/{split}-00000-of-00001.parquet" for split in ("train", "test"))
    push.hub.commit(REPO, files | {train: files[test]})

    out = push(REPO, code=3, command="verify")

    assert "default/train" in out and "push again" in out
    push.hub.commit("me/other", {"a.csv": b"a\n"})
    assert "no record.json" in push("me/other", code=2, command="verify")
    assert "neither a run folder nor" in push("nothing", code=2, command="verify")


def test_licences_stop_a_push(push: Pusher):
    """What nobody stated and nobody accepted is named with the lines that accept it; the Hub hears nothing."""
    recipe = yaml.safe_load((push.folder / "recipe.yaml").read_text())
    del recipe["push"]["accept"]["responses/weak"]
    (push.folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    push.slowly("run", "recipe.yaml")

    out = push("runs/tiny", code=2)

    assert "responses/weak" in out and "accept" in out and "responses/strong" not in out.partition("cure")[0]
    assert push.hub.log == []


def test_a_folder_that_was_changed_is_not_pushed(push: Pusher):
    """By hand, or since the filter ran again: the run is to be ended first."""
    (push.run / "dataset" / "data" / "ladder" / "train-00000-of-00001.parquet").write_bytes(b"x")
    assert "changed since the run ended" in push("--repo", REPO, code=2)
    push.slowly("run", "recipe.yaml")
    push.slowly("filter", "recipe.yaml", "--set", "filter.rules=[texts_differ]", "--overwrite")

    assert "older than the run's pairs" in push("--repo", REPO, code=2)


def test_which_run_is_meant(push: Pusher):
    """The only one in runs/; where there are several the user says which."""
    push("--dry-run")
    shutil.copytree(push.run, push.run.parent / "tiny2")

    assert "which run?" in push("--dry-run", code=2)


def test_more_files_than_one_commit_takes(push: Pusher):
    """They go in several commits, the card in the last, and what is there is whole at the end."""
    process = push.alone("import deltadata.remote; deltadata.remote.PER_COMMIT = 3", "push", "--repo", REPO)
    process.communicate(timeout=60)

    assert process.returncode == 0 and push.remote == push.local
    made = [set(commit.files) for commit in push.hub.repos[REPO].commits.values()]
    assert len(made) == 1 + -(-len(push.local) // 3) and sum(CARD in files for files in made) == 1


@pytest.mark.slow
def test_a_pushed_dataset_trains_a_student_that_is_pushed(push: Pusher):
    """TRL's DPOTrainer takes the Hub's rows without a rename; the student's repository names them by commit."""
    push("runs/tiny")
    build(push.folder / "student")
    recipe = yaml.safe_load((push.folder / "recipe.yaml").read_text())
    args = {"max_steps": 2, "per_device_train_batch_size": 2, "max_length": 512, "report_to": "none"}
    recipe["train"] = {"student": "student", "dataset": REPO, "batch": 4, "max_bad_share": 1.0, "args": args}
    (push.folder / "train.yaml").write_text(yaml.safe_dump(recipe))
    push.hub.faults.append(Fault("POST .*/commit/", status=503))

    push.slowly("train", "train.yaml", "--push", "me/student")

    there = push.hub.files("models/me/student")
    folder = push.run / "train" / "dpo"
    assert {"model.safetensors", "tokenizer.json", "README.md", "train.json", "train.png"} <= there.keys()
    assert all(there[name] == (folder / name).read_bytes() for name in there if name != ".gitattributes")
    card = there["README.md"].decode()
    assert push.hub.repos[REPO].sha("main") in card and "datasets:\n- me/delta-pairs" in card
    assert push.hub.repos["models/me/student"].private and push.no_token_anywhere()
