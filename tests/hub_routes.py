"""What the loopback Hub answers to each method and path: the table ROUTES at the end. hub_server.py carries it.

    answer(Request(hub, "GET", "/api/datasets/me/pool", {}, Message(), b"", None))

Paths, shapes, statuses and headers are those that huggingface_hub 2.4 and datasets 5.2 were seen to need.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote

from hub_card import CARD, card, card_errors
from hub_store import JSON, Answer, Refused, Repo, Request, as_json, blob, entry, is_large, key, tree


def answer(request: Request) -> Answer:
    """The route's answer, or why there is none."""
    try:
        for method, pattern, route in ROUTES:
            if method == request.method.replace("HEAD", "GET") and (match := re.fullmatch(pattern, request.path)):
                parts = {name: unquote(part) if part else part for name, part in match.groupdict().items()}
                return route(request, **parts)
        raise Refused(404, "No such address")
    except Refused as error:
        body = as_json({"error": error.message}, error.status)
        codes = {"X-Error-Code": error.code} if error.code else {}
        return body._replace(headers=JSON | codes | {"X-Error-Message": error.message})


def whoami(request: Request) -> Answer:
    if (user := request.user) is None:
        raise Refused(401, "Invalid username or password.")
    orgs = [{"type": "org", "name": name} for name in user.namespaces[1:]]
    token: dict[str, Any] = {"displayName": "test", "role": user.role}
    if user.role == "fineGrained":
        entity = {"type": "user", "name": user.name}
        token["fineGrained"] = {"scoped": [{"entity": entity, "permissions": ["repo.write"]}], "global": []}
    auth = {"type": "access_token", "accessToken": token}
    return as_json({"type": "user", "name": user.name, "orgs": orgs, "auth": auth})


def validate_yaml(request: Request) -> Answer:
    content = request.data()["content"]
    wrong = card_errors(content)
    notes = [] if CARD.match(content) else ["empty or missing yaml metadata in repo card"]
    said = {"errors": [{"message": text} for text in wrong], "warnings": [{"message": text} for text in notes]}
    return as_json(said, 400 if wrong else 200)


def address(request: Request, kind: str | None, repo: str) -> str:
    return f"{request.hub.url}/{'datasets/' if kind == 'datasets' else ''}{repo}"


def create(request: Request) -> Answer:
    asked = request.data()
    kind = f"{asked.get('type') or 'model'}s"
    namespace = asked.get("organization") or (request.user.name if request.user else "")
    repo = f"{namespace}/{asked['name']}"
    request.writer(namespace)
    facts = {"url": address(request, kind, repo), "name": repo, "id": repo}
    if key(kind, repo) in request.hub.repos:
        return as_json({"error": f"You already created this {kind[:-1]} repo", "url": facts["url"]}, 409)
    made = Repo(key(kind, repo), asked.get("visibility") == "private" or bool(asked.get("private")))
    attributes = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"
    made.put("main", {".gitattributes": blob(".gitattributes", attributes)}, "initial commit")
    request.hub.repos[made.name] = made
    return as_json(facts)


def delete(request: Request) -> Answer:
    asked = request.data()
    kind = f"{asked.get('type') or 'model'}s"
    namespace = asked.get("organization") or (request.user.name if request.user else "")
    found = request.repo(kind, f"{namespace}/{asked['name']}", write=True)
    del request.hub.repos[found.name]
    return as_json({})


def settings(request: Request, kind: str, repo: str) -> Answer:
    found, asked = request.repo(kind, repo, write=True), request.data()
    if "visibility" in asked or "private" in asked:
        found.private = asked.get("visibility") == "private" or bool(asked.get("private"))
    if "gated" in asked:
        (request.hub.gated.add if asked["gated"] else request.hub.gated.discard)(found.name)
    return as_json({"private": found.private, "gated": asked.get("gated", False)})


def info(request: Request, kind: str, repo: str, revision: str | None = None) -> Answer:
    found = request.repo(kind, repo)
    sha = found.sha(revision or "main")
    commit = found.commits[sha]
    data, tags = card(commit.files["README.md"].content.decode() if "README.md" in commit.files else "")
    siblings: list[dict[str, Any]] = []
    for name, file in commit.files.items():
        siblings.append({"rfilename": name})
        if request.yes("blobs"):
            siblings[-1] |= {"size": len(file.content), "blobId": file.oid}
            if lfs := entry(name, file).get("lfs"):
                siblings[-1]["lfs"] = {"sha256": lfs.pop("oid"), **lfs}
    gated = "auto" if found.name in request.hub.gated else False
    facts = {"id": repo, "author": repo.split("/")[0], "sha": sha, "private": found.private, "gated": gated}
    dates = {"createdAt": min(c.date for c in found.commits.values()), "lastModified": commit.date}
    return as_json(facts | dates | {"disabled": False, "cardData": data, "tags": tags, "siblings": siblings})


def list_tree(request: Request, kind: str, repo: str, revision: str, folder: str | None) -> Answer:
    files = request.repo(kind, repo).files(revision)
    return as_json(tree(files, folder or "", request.yes("recursive")))


def paths_info(request: Request, kind: str, repo: str, revision: str) -> Answer:
    files = request.repo(kind, repo).files(revision)
    form = "urlencoded" in request.headers.get("Content-Type", "")
    wanted = parse_qs(request.body.decode())["paths"] if form else request.data()["paths"]
    everything = {found["path"]: found for found in tree(files, "", True)}
    return as_json([everything[path] for path in wanted if path in everything])


def refs(request: Request, kind: str, repo: str) -> Answer:
    found = request.repo(kind, repo)

    def listed(of: dict[str, str], prefix: str) -> list[dict[str, str]]:
        return [{"name": name, "ref": prefix + name, "targetCommit": sha} for name, sha in of.items()]

    pulls = {"pullRequests": listed(found.pulls, "")} if request.yes("include_prs") else {}
    heads = {"branches": listed(found.branches, "refs/heads/"), "tags": listed(found.tags, "refs/tags/")}
    return as_json(heads | {"converts": []} | pulls)


def commits(request: Request, kind: str, repo: str, revision: str) -> Answer:
    found = request.repo(kind, repo)
    sha: str | None = found.sha(revision)
    history = []
    while sha:
        at = found.commits[sha]
        said = {"id": sha, "title": at.title, "message": at.description, "date": at.date}
        history.append(said | {"authors": [{"user": repo.split("/")[0]}]})
        sha = at.parent
    return as_json(history)


def add_ref(request: Request, kind: str, repo: str, which: str, name: str) -> Answer:
    """A branch called `name`, or a tag at `name`."""
    found, asked = request.repo(kind, repo, write=True), request.data()
    new, at = (name, asked.get("startingPoint", "main")) if which == "branch" else (asked["tag"], name)
    held = found.branches if which == "branch" else found.tags
    if new in held:
        raise Refused(409, f"{which} {new} already exists")
    held[new] = found.sha(at)
    return as_json({})


def drop_ref(request: Request, kind: str, repo: str, which: str, name: str) -> Answer:
    found = request.repo(kind, repo, write=True)
    held = found.branches if which == "branch" else found.tags
    if which == "branch" and name == "main":
        raise Refused(403, "The branch main cannot be deleted")
    if held.pop(name, None) is None:
        raise Refused(404, f"Invalid rev id: {name}", "RevisionNotFound")
    return as_json({})


def preupload(request: Request, kind: str, repo: str, revision: str) -> Answer:
    files = request.repo(kind, repo, write=True, foreign=request.yes("create_pr")).files(revision)
    modes = []
    for file in request.data()["files"]:
        path = file["path"]
        large = is_large(path, file["size"], base64.b64decode(file["sample"]))
        modes.append({"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False})
        if path in files:
            modes[-1]["oid"] = files[path].sha256 or files[path].oid
    return as_json({"files": modes})


def lfs_batch(request: Request, kind: str | None, repo: str) -> Answer:
    """Where to send the objects that are not there; those that are have no actions."""
    asked = request.data()
    found = request.repo(kind, repo, write=True, foreign="ref" not in asked)
    size, objects = request.hub.part_size, []
    for item in asked["objects"]:
        objects.append({"oid": item["oid"], "size": item["size"]})
        if item["oid"] not in found.objects:
            found.expected[item["oid"]] = item["size"]
            href = f"{request.hub.url}/lfs/{found.name}/{item['oid']}"
            upload: dict[str, Any] = {"href": href}
            if size and item["size"] > size and "multipart" in asked["transfers"]:
                parts = {f"{n + 1:05}": f"{href}/{n + 1}" for n in range(-(-item["size"] // size))}
                upload["header"] = {"chunk_size": str(size), **parts}
            objects[-1]["actions"] = {"upload": upload, "verify": {"href": href}}
    return as_json({"objects": objects})


def lfs_put(request: Request, name: str, oid: str, part: str | None) -> Answer:
    """An object or a part of it. The address is as good as a signature: no token is asked for."""
    found = request.hub.repos.get(name)
    if found is None or oid not in found.expected:
        raise Refused(403, "Request has expired")
    if part:
        found.parts[oid, int(part)] = request.body
    else:
        store(found, oid, request.body)
    return Answer(headers={"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})


def lfs_done(request: Request, name: str, oid: str) -> Answer:
    """The end of an upload in parts, or the check after an upload."""
    found, asked = request.hub.repos[name], request.data()
    if "parts" in asked:
        numbers = sorted(part["partNumber"] for part in asked["parts"])
        store(found, oid, b"".join(found.parts.pop((oid, number), b"") for number in numbers))
    elif len(found.objects.get(oid, b"")) != asked["size"]:
        raise Refused(404, "The object is not there, or not whole")
    return as_json({})


def store(repo: Repo, oid: str, content: bytes) -> None:
    if hashlib.sha256(content).hexdigest() != oid:
        raise Refused(400, "The content is not what its oid says")
    repo.objects[oid] = content


def commit(request: Request, kind: str, repo: str, revision: str) -> Answer:
    as_pull = request.yes("create_pr")
    found = request.repo(kind, repo, write=True, foreign=as_pull)
    lines = [json.loads(line) for line in request.body.splitlines()]
    sha, ref = found.commit(revision, lines, as_pull)
    url = address(request, kind, repo)
    facts = {"success": True, "commitOid": sha, "commitUrl": f"{url}/commit/{sha}", "hookOutput": ""}
    return as_json(facts | ({"pullRequestUrl": f"{url}/discussions/{ref.split('/')[-1]}"} if as_pull else {}))


def resolve(request: Request, kind: str | None, repo: str, revision: str, name: str) -> Answer:
    found = request.repo(kind, repo)
    sha, mine = found.sha(revision), request.user and repo.split("/")[0] in request.user.namespaces
    if found.name in request.hub.gated and not mine:
        raise Refused(403, "Access to this dataset is restricted", "GatedRepo")
    if (file := found.commits[sha].files.get(name)) is None:
        raise Refused(404, "Entry not found", "EntryNotFound")
    content = file.content
    facts = {"X-Repo-Commit": sha, "ETag": f'"{file.sha256 or file.oid}"', "Accept-Ranges": "bytes"}
    if file.sha256:
        facts |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(len(content))}
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", ""))
    if asked is None:
        return Answer(200, content, facts)
    first, last = asked.groups()
    start = int(first) if first else max(0, len(content) - int(last))  # a suffix may be longer than the file
    stop = min(int(last) + 1, len(content)) if first and last else len(content)
    if start >= len(content):
        return Answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
    return Answer(206, content[start:stop], facts | {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"})


REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
API = rf"/api/(?P<kind>datasets|models)/{REPO}"
PAGE = rf"/((?P<kind>datasets)/)?{REPO}"
LFS = r"/lfs/(?P<name>[\w./-]+)/(?P<oid>[0-9a-f]{64})"
REVISION = r"(?P<revision>refs(?:/|%2F)(?:pr|convert)(?:/|%2F)[^/]+|[^/]+)"
REF = r"(?P<which>branch|tag)/(?P<name>[^/]+)"
ROUTES: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
    ("GET", "/api/whoami-v2", whoami),
    ("POST", "/api/validate-yaml", validate_yaml),
    ("POST", "/api/repos/create", create),
    ("DELETE", "/api/repos/delete", delete),
    ("GET", API, info),
    ("PUT", f"{API}/settings", settings),
    ("GET", f"{API}/revision/{REVISION}", info),
    ("GET", f"{API}/tree/{REVISION}(/(?P<folder>.+))?", list_tree),
    ("POST", f"{API}/paths-info/{REVISION}", paths_info),
    ("GET", f"{API}/refs", refs),
    ("GET", f"{API}/commits/{REVISION}", commits),
    ("POST", f"{API}/{REF}", add_ref),
    ("DELETE", f"{API}/{REF}", drop_ref),
    ("POST", f"{API}/preupload/{REVISION}", preupload),
    ("POST", rf"{PAGE}\.git/info/lfs/objects/batch", lfs_batch),
    ("PUT", rf"{LFS}(/(?P<part>\d+))?", lfs_put),
    ("POST", LFS, lfs_done),
    ("POST", f"{API}/commit/{REVISION}", commit),
    ("GET", f"{PAGE}/resolve/{REVISION}/(?P<name>.+)", resolve),
)
