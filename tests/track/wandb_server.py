"""A stand-in for W&B's server on this machine: says yes to whatever a run sends, and keeps it."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """`runs`: what runs said of themselves, in order; `history`: rows by id of the run; `exits`: exit codes by id.

    `uploads`: contents of files by name, those of artifacts with `artifact/` before it; `artifacts`: their requests.
    """

    def __init__(self):
        self.runs, self.artifacts, self.history, self.exits, self.uploads = [], [], {}, {}, {}
        handler = type("Handler", (_Handler,), {"ours": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # connections end when they like
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._open = True
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def die(self) -> None:
        """Connections that are open get no answer any more, new ones are refused."""
        if self._open:
            self._open = False
            self._http.shutdown()
            self._http.server_close()

    def answer(self, query: str, given: dict) -> dict:
        """What GraphQL gets for a query with these variables."""
        name = re.match(r"\s*\w+\s+(\w+)", query)[1]
        upload = {"uploadHeaders": [], "artifact": {"id": "A"}, "storagePath": "s"}
        if name == "UpsertBucket":
            self.runs.append(given)
            entity = {"name": "P", "entity": {"id": "E", "name": "me"}}
            return {"upsertBucket": {"inserted": True, "bucket": {"id": "R", "name": given["name"], "project": entity}}}
        if name == "RunResumeStatus":
            rows = self.history.get(given["name"])
            return {"model": rows and {"bucket": self._known(given["name"], rows)}}
        if name == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.url}/{file}"} for file in given["files"]]
            return {"createRunFiles": {"runID": "R", "uploadHeaders": [], "files": files}}
        if name == "ArtifactType":
            return {"project": {"artifact": None}}
        if name == "CreateArtifact":
            self.artifacts.append(given["input"])
            return {"createArtifact": {"artifact": {"id": "A", "state": "PENDING", "artifactSequence": {"id": "S"}}}}
        if name == "CreateArtifactManifest":
            file = {"id": "F", "name": "m", "displayName": "m", "uploadUrl": f"{self.url}/artifact/manifest", **upload}
            return {"createArtifactManifest": {"artifactManifest": {"id": "M", "file": file}}}
        if name == "CreateArtifactFiles":
            names = [file["name"] for file in given["input"]["artifactFiles"]]
            nodes = [
                {"id": n, "name": n, "displayName": n, "uploadUrl": f"{self.url}/artifact/{n}", **upload} for n in names
            ]
            return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}
        if name == "CommitArtifact":
            return {"commitArtifact": {"artifact": {"id": "A", "digest": "d"}}}
        if name == "Viewer":
            return {"viewer": {"id": "U", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}
        return {"serverInfo": {"features": []}}

    def _known(self, run: str, rows: list[dict]) -> dict:
        """What a run that goes on must know of its earlier sessions."""
        counts = {"historyLineCount": len(rows), "eventsLineCount": 0, "logLineCount": 0}
        tails = {"historyTail": json.dumps([json.dumps(rows[-1])]), "eventsTail": "[]", "summaryMetrics": "{}"}
        return {"id": "R", "name": run, "config": "{}", "wandbConfig": '{"t": 1}', "tags": [], **counts, **tails}

    def streamed(self, run: str, told: dict) -> None:
        """As the real one: a row that comes again at its place replaces what was there."""
        sent = told.get("files", {}).get("wandb-history.jsonl")
        if sent:
            rows = self.history.setdefault(run, [])
            rows[sent["offset"] : sent["offset"] + len(sent["content"])] = map(json.loads, sent["content"])
        if told.get("complete"):
            self.exits.setdefault(run, []).append(told["exitcode"])


class _Handler(BaseHTTPRequestHandler):
    ours: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _say(self, told: dict) -> None:
        text = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_PUT(self):
        self.ours.uploads[self.path.removeprefix("/")] = self._body()
        self._say({})

    def do_POST(self):
        told = json.loads(self._body())
        if self.path == "/graphql":
            self._say({"data": self.ours.answer(told["query"], told.get("variables") or {})})
        else:
            self.ours.streamed(self.path.split("/")[-2], told)
            self._say({"exitcode": None, "limits": {}})
