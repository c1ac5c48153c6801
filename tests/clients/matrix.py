"""Runs the client programs against a server: see README.md. Every client is named on the command line as
NAME=COMMAND; the server is that of PGHOST, PGPORT, PGUSER and PGDATABASE."""

import json
import pathlib
import shlex
import subprocess
import sys
import threading
import time

GOLDEN = json.loads((pathlib.Path(__file__).parents[1] / "vectors.json").read_text(encoding="ascii"))
VECTORS = [(vector["parts"], vector["key"]) for vector in GOLDEN["vectors"]] + [
    ([part["text"] * part["repeat"] for part in vector["parts"]], vector["key"]) for vector in GOLDEN["described"]]

PATIENCE = 120
"""Seconds after which a program that does not answer is ended."""


class Client:
    """A running client program."""

    def __init__(self, name, command):
        self.name = name
        self._process = subprocess.Popen(
            shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")

    def ask(self, command, *parts, milliseconds=None):
        words = [command]
        if milliseconds is not None:
            words.append(str(milliseconds))
        words += [part.encode().hex() or "-" for part in parts]
        ended = threading.Timer(PATIENCE, self._process.kill)
        ended.start()
        try:
            self._process.stdin.write(" ".join(words) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline().strip()
        finally:
            ended.cancel()
        if not answer:
            raise AssertionError(f"{self.name} did not answer {words[0]}")
        return answer

    def end(self):
        try:
            self._process.stdin.close()
            self._process.wait(10)
        except BrokenPipeError:
            pass  # it has ended already
        except subprocess.TimeoutExpired:
            self._process.kill()


def expect(what, expected, *answers):
    for answer in answers:
        if answer != expected:
            raise AssertionError(f"{what}: expected {expected}, got {answer}")


def check_vectors(client):
    """Its own hash and the server's are the golden keys, whichever way the parts are sent."""
    for parts, key in VECTORS:
        answers = client.ask("key", *parts).split(" ")
        if len(answers) < 2:
            raise AssertionError(f"key: {answers}")
        expect(f"the key of {'-'.join(parts)[:100]}", key, *answers)


def check_alone(client, other):
    """The other program holds a lock meanwhile: a wait in vain, an error, and the same session again."""
    name = ["alone", client.name]
    expect("lock", "true", other.ask("try", *name))
    expect("lock again in the same transaction", "true", other.ask("try", *name))
    begun = time.monotonic()
    expect("a wait in vain", "false", client.ask("wait", *name, milliseconds=200))
    if not 0.2 <= time.monotonic() - begun < 10:
        raise AssertionError(f"a wait of 200 ms took {time.monotonic() - begun:.3f} s")
    client.ask("commit")
    expect("the SQLSTATE of a refusal", "55P03", client.ask("fail", *name))
    expect("the SQLSTATE of a name without parts", "22023", client.ask("fail"))
    other.ask("commit")
    expect("a wait for a free lock", "true", client.ask("wait", *name, milliseconds=200))
    client.ask("commit")


def check_pair(holder, second):
    """The second one is refused while the first holds the lock, by name and by integer, and gets it then."""
    name = ["matrix", holder.name, second.name, "ä 🔒"]
    for first_way, second_way in (("try", "try"), ("integer", "try"), ("try", "integer")):
        what = f"{holder.name} ({first_way}), {second.name} ({second_way})"
        expect(what, "true", holder.ask(first_way, *name))
        expect(what, "false", second.ask(second_way, *name))
        holder.ask("commit")
        expect(what, "true", second.ask(second_way, *name))
        second.ask("commit")


def main():
    commands = [argument.split("=", 1) for argument in sys.argv[1:]]
    clients = [Client(name, command) for name, command in commands]
    twins = [Client(name, command) for name, command in commands]
    failures = []

    def attempt(what, check, *arguments):
        try:
            check(*arguments)
            return True
        except (AssertionError, OSError) as error:
            failures.append(f"{what}: {error}")
            return False

    width = max(len(client.name) for client in clients)
    for client, twin in zip(clients, twins):
        drivers = {}
        fine = (attempt(client.name, lambda: drivers.update({client: client.ask("driver")}))
                and attempt(client.name, check_vectors, client)
                and attempt(client.name, check_alone, client, twin))
        print(f"  {client.name:{width}}  {drivers.get(client, '?'):28}  {'ok' if fine else 'FAILED'}", flush=True)

    print(f"\nRow holds, column is refused and then served ({len(VECTORS)} vectors each):\n")
    print(" " * (width + 3) + " ".join(f"{number:2}" for number in range(1, len(clients) + 1)))
    for number, holder in enumerate(clients, 1):
        cells = []
        for second, twin in zip(clients, twins):
            fine = attempt(f"{holder.name} x {second.name}", check_pair, holder, twin)
            cells.append("ok" if fine else " X")
        print(f"  {holder.name:{width}} " + " ".join(cells) + f"   {number}", flush=True)

    for client in clients + twins:
        client.end()
    if failures:
        print("\n" + "\n".join(failures[:20]))
        sys.exit(1)
    print(f"\n{len(clients)} drivers, {len(clients) ** 2} pairs: all fine")


if __name__ == "__main__":
    main()
