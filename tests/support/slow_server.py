"""A web server on loopback that takes its time over each file, and breaks off in the middle when asked to.

with SlowServer(folder) as server:
    run("wget", server.url("a.jpg"))            # half of it, a pause, the rest
    run("wget", server.url("a.jpg", cut=True))  # the first request of each name ends in the middle
"""

from __future__ import annotations

import re
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import quote, unquote

_RANGE = re.compile(r"bytes=(\d+)-(\d*)$")


class SlowServer:
    """Serves the files of one folder; `pause` is in seconds, and comes in the middle of each answer."""

    def __init__(self, folder: Path, pause: float) -> None:
        server = _Server(("127.0.0.1", 0), _Handler)
        server.folder, server.pause = folder, pause
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)

    def url(self, name: str, *, cut: bool = False) -> str:
        """Where this file of the folder is found."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{'cut' if cut else 'whole'}/{quote(name)}"

    def __enter__(self) -> SlowServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    folder: Path
    pause: float

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.was_cut: set[str] = set()


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_HEAD(self) -> None:
        self._head()

    def do_GET(self) -> None:
        """Half of what is asked for, a pause, the rest."""
        content = self._head()
        half = len(content) // 2
        self.wfile.write(content[:half])
        self.wfile.flush()
        time.sleep(self.server.pause)
        if self.path.startswith("/cut/") and self.path not in self.server.was_cut:
            self.server.was_cut.add(self.path)
            self.close_connection = True
            return
        self.wfile.write(content[half:])

    def _head(self) -> bytes:
        whole = (self.server.folder / unquote(self.path.rpartition("/")[2])).read_bytes()
        asked = _RANGE.match(self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        end = int(asked[2]) + 1 if asked and asked[2] else len(whole)
        content = whole[start:end]
        self.send_response(HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{start + len(content) - 1}/{len(whole)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""
