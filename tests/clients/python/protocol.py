"""The protocol of the client programs, for those in Python: see ../README.md."""

import hashlib
import sys

NUMBERED = ("wait", "slot", "claim")
"""The commands with a number before the parts."""


def own_key(*parts):
    digest = hashlib.sha256("-".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def serve(client):
    for line in sys.stdin:
        command, *words = line.split()
        number = [int(words.pop(0))] if command in NUMBERED else []
        parts = ["" if word == "-" else bytes.fromhex(word).decode() for word in words]
        if command == "driver":
            answer = client.driver()
        elif command == "commit":
            client.commit()
            answer = "ok"
        elif command == "acquire":
            client.acquire(parts)
            answer = "ok"
        else:
            answer = getattr(client, f"do_{command}")(*number, parts)
        if command == "key":
            answer = " ".join(map(str, answer))
        elif command == "claim":
            answer = "{" + ",".join(map(str, answer)) + "}"
        print(str(answer).lower() if isinstance(answer, bool) else answer, flush=True)
