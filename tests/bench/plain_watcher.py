"""The reference for latency: the plainest program that sends what is closed in a folder. Arguments: PORT, FOLDER."""

from __future__ import annotations

import http.client
import os
import sys

from watchdog.events import FileClosedEvent, FileSystemEventHandler
from watchdog.observers import Observer

_BOUNDARY = "a-boundary"


class Sender(FileSystemEventHandler):
    def __init__(self, port: int) -> None:
        self._port = port

    def on_closed(self, event: FileClosedEvent) -> None:
        path = os.fsdecode(event.src_path)
        with open(path, "rb") as file:
            content = file.read()
        head = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="key"\r\n\r\nKEY\r\n--{_BOUNDARY}\r\n'
            f'Content-Disposition: form-data; name="file"; filename="{os.path.basename(path)}"\r\n\r\n'
        )
        body = head.encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        connection.request("POST", "/store", body, {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"})
        connection.getresponse().read()
        connection.close()


if __name__ == "__main__":
    observer = Observer()
    observer.schedule(Sender(int(sys.argv[1])), sys.argv[2], recursive=True)
    observer.start()
    print("watching", flush=True)
    sys.stdin.read()
    observer.stop()
    observer.join()
