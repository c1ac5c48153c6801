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

    def ask(self, command, *parts, number=None):
        words = [command]
        if number is not None:
            words.append(str(number))
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
    expect("a wait in vain", "false", client.ask("wait", *name, number=200))
    if not 0.2 <= time.monotonic() - begun < 10:
        raise AssertionError(f"a wait of 200 ms took {time.monotonic() - begun:.3f} s")
    client.ask("commit")
    expect("the SQLSTATE of a refusal", "55P03", client.ask("fail", *name))
    expect("the SQLSTATE of a name without parts", "22023", client.ask("fail"))
    other.ask("commit")
    expect("a wait for a free lock", "true", client.ask("wait", *name, number=200))
    client.ask("commit")


def check_slots(client, twin, third):
    """Two slots are for two sessions; the third is refused until one of them commits."""
    name = ["slots", client.name, "", "ä 🔒"]
    for session in (client, twin):
        expect("a slot", "true", session.ask("slot", *name, number=2))
    expect(f"the third of two slots, {third.name}", "false", third.ask("slot", *name, number=2))
    third.ask("commit")
    client.ask("commit")
    expect(f"a slot that was given back, {third.name}", "true", third.ask("slot", *name, number=2))
    third.ask("commit")
    expect("the only slot, taken with two", "false", client.ask("slot", *name, number=1))
    client.ask("commit")
    twin.ask("commit")


def check_claims(client, twin):
    """Each part is a name; nobody gets what somebody has, nor what they have themselves."""
    names = [f"claims-{client.name}", "", 'ä 🔒 {"\\,}', "NULL"]
    expect("the first name", "{1}", client.ask("claim", *names, number=1))
    expect("the next two", "{2,3}", twin.ask("claim", *names, number=2))
    expect("what is left", "{4}", client.ask("claim", *names, number=2))
    expect("nothing", "{}", twin.ask("claim", *names, number=1))
    expect("a claimed name", "false", twin.ask("try", names[0]))
    client.ask("commit")
    for name in names[1:3]:
        expect("a claimed name", "false", client.ask("try", name))
    client.ask("commit")
    expect("the names of the other one's commit", "{1,4}", twin.ask("claim", *names, number=4))
    twin.ask("commit")


def check_acquire(client, twin):
    """CALL has no result; what it locked is locked until the end of the transaction."""
    name = ["acquire", client.name, "", "ä 🔒"]
    expect("CALL acquire_keys", "ok", client.ask("acquire", *name))
    expect("a lock that was acquired", "false", twin.ask("try", *name))
    client.ask("commit")
    expect("a lock after the commit", "true", twin.ask("try", *name))
    twin.ask("commit")


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
    for client, twin, third in zip(clients, twins, clients[1:] + clients[:1]):
        drivers = {}
        fine = (attempt(client.name, lambda: drivers.update({client: client.ask("driver")}))
                and attempt(client.name, check_vectors, client)
                and attempt(client.name, check_alone, client, twin)
                and attempt(client.name, check_slots, client, twin, third)
                and attempt(client.name, check_claims, client, twin)
                and attempt(client.name, check_acquire, client, twin))
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
