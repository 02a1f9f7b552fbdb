"""The reference: the STORE documentation's own Python sample, in a loop over files. Arguments: URL, FOLDER.

Prints what it took: {"memory": bytes, "processor": seconds}.
"""

from __future__ import annotations

import json
import os
import sys

import requests

from bench.process import peak_memory


def publish(url: str, path: str) -> str:
    with open(path, "rb") as file:
        answer = requests.post(url, files={"file": file}, data={"key": "KEY", "comment": "a comment"}, timeout=30)
    answer.raise_for_status()
    reply = answer.json()
    if reply["status"] != 200:
        raise SystemExit(reply["error"])
    link: str = reply["link"]
    return link


if __name__ == "__main__":
    for folder, _, names in os.walk(sys.argv[2]):
        for name in names:
            publish(sys.argv[1], os.path.join(folder, name))
    took = os.times()
    print(json.dumps({"memory": peak_memory("self"), "processor": took.user + took.system}))
