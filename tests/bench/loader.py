"""Sends requests that were put together before, over kept connections: what the sink can take, and no more than that.

Arguments: PORT CONNECTIONS REQUESTS SIZE.
"""

from __future__ import annotations

import socket
import sys
import threading

_BLOCK = bytes(1 << 20)
"""What bodies consist of."""


def send(port: int, requests: int, size: int) -> None:
    head = f"POST /store HTTP/1.1\r\nHost: sink\r\nContent-Length: {size}\r\n\r\n".encode()
    whole, rest = divmod(size, len(_BLOCK))
    pieces = [head + _BLOCK[:rest], *[_BLOCK] * whole]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(requests):
            for piece in pieces:
                connection.sendall(piece)
            if not connection.recv(65536).startswith(b"HTTP/1.1 200 "):
                raise SystemExit("the sink did not answer well")


if __name__ == "__main__":
    port, connections, requests, size = map(int, sys.argv[1:])
    each = requests // connections
    threads = [threading.Thread(target=send, args=(port, each, size)) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
