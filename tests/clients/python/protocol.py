"""The protocol of the client programs, for those in Python: see ../README.md."""

import hashlib
import sys


def own_key(*parts):
    digest = hashlib.sha256("-".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def serve(client):
    for line in sys.stdin:
        command, *words = line.split()
        milliseconds = int(words.pop(0)) if command == "wait" else None
        parts = ["" if word == "-" else bytes.fromhex(word).decode() for word in words]
        if command == "driver":
            answer = client.driver()
        elif command == "commit":
            client.commit()
            answer = "ok"
        elif command == "wait":
            answer = client.wait(milliseconds, parts)
        else:
            answer = getattr(client, f"do_{command}")(parts)
        if isinstance(answer, list):
            answer = " ".join(map(str, answer))
        print(str(answer).lower() if isinstance(answer, bool) else answer, flush=True)
