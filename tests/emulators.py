"""Servers of Google Cloud Storage, Azure Blob Storage and a Hugging Face Hub on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
"""Read when gcsfs is imported: else it asks Google itself what kind of bucket one is."""

AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
"""What every Azurite is made with, as its documentation says."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def google():
    """The environment that leads gcsfs to an emulator, while it runs.

    The emulator's own server answers one connection at a time, and so waits for ever for one that
    is kept alive: its handlers run in a server of threads here.
    """
    from gcp_storage_emulator.server import RequestHandler, create_server

    class Handler(RequestHandler):
        def log_message(self, *_given) -> None:
            pass

    class Threads(ThreadingHTTPServer):
        def handle_error(self, *_given) -> None:
            pass  # clients close connections when they have what they want

    storage = create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")._storage
    server = Threads(("127.0.0.1", 0), partial(Handler, storage))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{server.server_port}",
        }
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def hub(folder: Path):
    """Storage options that lead to a Hugging Face Hub with one dataset, me/data: this folder."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if path.startswith("/api/datasets/me/data/tree/main"):
                root = folder / path.removeprefix("/api/datasets/me/data/tree/main").strip("/")
                found = [describe(one) for one in sorted(root.rglob("*"))]
                self.answer(found) if found else self.refuse("EntryNotFound")
            elif path.startswith("/api/datasets/me/data"):
                self.answer({"id": "me/data", "sha": "0" * 40, "siblings": []})
            elif path.startswith("/datasets/me/data/resolve/main/"):
                data = (folder / path.removeprefix("/datasets/me/data/resolve/main/")).read_bytes()
                first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
                self.send_response_only(206)
                self.send(data[int(first) : int(last) + 1])
            else:
                self.refuse("RepoNotFound")

        def do_POST(self) -> None:
            asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            paths = [folder / path for path in asked.get("paths", [])]
            self.answer([describe(path) for path in paths if path.exists()])

        def answer(self, found: object) -> None:
            self.send_response_only(200)
            self.send_header("Content-Type", "application/json")
            self.send(json.dumps(found).encode())

        def refuse(self, code: str) -> None:
            self.send_response_only(404)
            self.send_header("X-Error-Code", code)
            self.send(b"")

        def send(self, data: bytes) -> None:
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def describe(path: Path) -> dict[str, object]:
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            return {"type": "directory", "oid": "d" * 40, "path": name}
        oid = hashlib.sha256(path.read_bytes()).hexdigest()[:40]
        return {"type": "file", "oid": oid, "size": path.stat().st_size, "path": name}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {"endpoint": f"http://127.0.0.1:{server.server_port}", "token": False}
    finally:
        server.shutdown()
        server.server_close()


def azurite_command() -> str | None:
    """Azurite, where it is installed; or as npm brings it to a cache, where there is npm."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache, "dedupe-tests")
    places = os.pathsep.join([os.environ.get("PATH", ""), str(folder / "node_modules" / ".bin")])
    found = os.environ.get("DEDUPE_TEST_AZURITE") or shutil.which("azurite-blob", path=places)
    if found is None and shutil.which("npm"):
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--silent", "--no-fund", "--prefix", str(folder), "azurite"]
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(command, capture_output=True, timeout=120, check=False)
        found = shutil.which("azurite-blob", path=places)
    return found


@contextmanager
def azure(command: str, folder: Path):
    """The environment that leads adlfs to Azurite, while it runs."""
    port = free_port()
    quiet = ["--silent", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]
    process = subprocess.Popen(
        [command, "--blobHost", "127.0.0.1", "--blobPort", str(port), *quiet],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    try:
        for _ in range(300):
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        url = f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}"
        yield {
            "AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;AccountName="
            f"{AZURE_ACCOUNT};AccountKey={AZURE_KEY};BlobEndpoint={url};"
        }
    finally:
        process.kill()  # asked to end, it waits for its clients
        process.wait()
