"""A web server in front of another one, that passes requests on, or fails as it is told to."""

from __future__ import annotations

import http.client
import os
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

FAULTS = ("500", "503", "429", "reset", "truncated")
"""A status, a connection that is cut off before an answer, and one in the middle of it."""

_REASONS = {"500": "InternalError", "503": "SlowDown", "429": "TooManyRequests"}


class Proxy:
    """Fails as `fault` says, `left` times, with requests of these methods; `hits`: those it did."""

    def __init__(self, target: str) -> None:
        self.fault, self.left, self.hits = "", 0, 0
        self.methods: tuple[str, ...] = ()
        proxy, target = self, urlsplit(target).netloc

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 20
            disable_nagle_algorithm = True

            def parse_request(self) -> bool:
                if not super().parse_request():
                    return False
                setattr(self, f"do_{self.command}", self._pass_on)
                return True

            def _pass_on(self) -> None:
                self.wfile.flush()  # 100 Continue, where it was asked for
                body = self._body()
                fault = ""
                if proxy.left and self.command in proxy.methods:
                    proxy.left, proxy.hits = proxy.left - 1, proxy.hits + 1
                    fault = proxy.fault
                if fault == "reset":
                    self._cut()
                elif fault in _REASONS:
                    said = f"<Error><Code>{_REASONS[fault]}</Code></Error>".encode()
                    self._answer(int(fault), [("Content-Type", "application/xml")], said)
                else:
                    there = http.client.HTTPConnection(target)
                    there.request(self.command, self.path, body, dict(self.headers))
                    answer = there.getresponse()
                    data = answer.read()
                    headers = [(k, v) for k, v in answer.getheaders() if k.lower() not in _OWN]
                    if self.command == "HEAD":
                        headers.append(("Content-Length", answer.headers["Content-Length"] or "0"))
                    self._answer(answer.status, headers, data, cut=fault == "truncated")
                    there.close()

            def _body(self) -> bytes | None:
                if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                del self.headers["Transfer-Encoding"]
                chunks = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    chunks.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(chunks)

            def _answer(self, status: int, headers, data: bytes, *, cut: bool = False) -> None:
                self.send_response_only(status)
                for name, value in headers:
                    self.send_header(name, value)
                if self.command != "HEAD":
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data[: len(data) // 2] if cut else data)
                if cut:
                    self._cut()

            def _cut(self) -> None:
                self.close_connection = True
                self.wfile.flush()
                linger = (
                    struct.pack("ii", 1, 0) if proxy.fault == "reset" else struct.pack("ii", 0, 0)
                )
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                os.close(self.connection.detach())

            def log_message(self, *_given) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_given) -> None:
                pass  # clients go, and connections are cut

            def shutdown_request(self, request) -> None:
                if request.fileno() >= 0:
                    super().shutdown_request(request)

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def fail(self, fault: str, times: int, *methods: str) -> None:
        """What to do with the next requests of these methods."""
        self.fault, self.left, self.hits, self.methods = fault, times, 0, methods

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


_OWN = ("content-length", "transfer-encoding", "connection")
