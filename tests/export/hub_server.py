"""The part of the hub's protocol that an upload speaks, on a local port."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_" + "local" * 6


@dataclass
class Hub:
    """Requests to the server, and files uploaded to it."""

    address: str = ""
    repositories: dict[str, str] = field(default_factory=dict)  # name -> visibility
    files: dict[str, bytes] = field(default_factory=dict)  # by path, as committed
    stored: dict[str, bytes] = field(default_factory=dict)  # large files by their hash
    asked: list[str] = field(default_factory=list)
    full: bool = False  # refuses large files


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Serve until the context ends."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *about: Any) -> None: ...

        def answer(self, code: int, body: Any = None, **headers: str) -> None:
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def allowed(self) -> bool:
            hub.asked.append(f"{self.command} {self.path}")
            if self.headers.get("Authorization") == f"Bearer {TOKEN}":
                return True
            self.answer(401, {"error": "Invalid user token."})
            return False

        def do_GET(self) -> None:
            if not self.allowed():
                return
            name = self.path.removeprefix("/api/models/")
            if name not in hub.repositories:
                self.answer(404, {"error": "Not found"}, X_Error_Code="RepoNotFound")
                return
            private = hub.repositories[name] == "private"
            self.answer(200, {"id": name, "modelId": name, "private": private, "sha": "0" * 40})

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hub.asked.append(f"PUT {self.path}")
            hub.stored[self.path.rpartition("/")[2]] = body
            self.answer(200)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if not self.allowed():
                return
            path = self.path.partition("?")[0]
            if path == "/api/repos/create":
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}"
                if name in hub.repositories:
                    self.answer(409, {"url": f"{hub.address}/{name}"})
                    return
                hub.repositories[name] = asked.get("visibility", "public")
                self.answer(200, {"url": f"{hub.address}/{name}"})
            elif path == "/api/validate-yaml":
                self.answer(200, {"errors": [], "warnings": []})
            elif "/preupload/" in path:
                modes = [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith("tensors") else "regular",
                        "shouldIgnore": False,
                    }
                    for file in json.loads(body)["files"]
                ]
                self.answer(200, {"files": modes})
            elif path.endswith("/info/lfs/objects/batch"):
                self.large(json.loads(body)["objects"])
            elif "/commit/" in path:
                self.commit(path.removeprefix("/api/models/").partition("/commit/")[0], body)
            else:
                self.answer(404, {"error": f"unknown path {path}"})

        def large(self, objects: list[dict[str, Any]]) -> None:
            if hub.full:
                self.answer(403, {"error": "You have exceeded your storage limit."})
                return
            found = [
                {
                    "oid": one["oid"],
                    "size": one["size"],
                    "actions": {"upload": {"href": f"{hub.address}/large/{one['oid']}"}},
                }
                for one in objects
            ]
            self.answer(200, {"transfer": "basic", "objects": found})

        def commit(self, name: str, body: bytes) -> None:
            for line in body.decode().splitlines():
                row = json.loads(line)
                value = row["value"]
                if row["key"] == "file":
                    hub.files[value["path"]] = base64.b64decode(value["content"])
                elif row["key"] == "lfsFile":
                    hub.files[value["path"]] = hub.stored[value["oid"]]
            oid = "1" * 40
            self.answer(
                200,
                {
                    "success": True,
                    "commitOid": oid,
                    "commitUrl": f"{hub.address}/{name}/commit/{oid}",
                },
            )

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
