"""An S3 server on this machine that counts what it is asked, and fails when told to."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
}


_KEY = re.compile(r"Credential=([^/]+)/")


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_given) -> None:
        pass


class Store:
    """A server. All of a process have the same buckets.

    asked: (method, path and query) of each request. keys: who asked. answer: a status to give
    instead."""

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=Quiet)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.asked: list[tuple[str, str]] = []
        self.keys: set[str] = set()
        self.answer = lambda method, path: None
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __call__(self, environ, start_response):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        query = environ.get("QUERY_STRING", "")
        self.asked.append((method, f"{path}?{query}" if query else path))
        self.keys.update(_KEY.findall(environ.get("HTTP_AUTHORIZATION", "")))
        status = self.answer(method, path)
        if status is None:
            return self._app(environ, start_response)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        codes = {400: "ExpiredToken", 403: "AccessDenied", 503: "SlowDown"}
        code = codes.get(int(status[:3]), "InternalError")
        body = f"<Error><Code>{code}</Code><Message>{status}</Message></Error>".encode()
        headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [] if method == "HEAD" else [body]

    @contextmanager
    def counting(self) -> Iterator[Counter]:
        """Requests by method while the block ran."""
        before = len(self.asked)
        count: Counter = Counter()
        yield count
        count.update(method for method, _ in self.asked[before:])

    def make(self, bucket: str) -> None:
        """Make another bucket, or empty it."""
        import fsspec

        fs = fsspec.filesystem("s3", use_listings_cache=False)
        if fs.exists(bucket):
            fs.rm(bucket, recursive=True)
        fs.mkdir(bucket)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
