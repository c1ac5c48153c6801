"""Measures locks by name of several servers on this machine, one beside the other: pairs of a lock and its release per second.

Within a round the candidates follow each other, so that what disturbs the machine disturbs all of them; a ratio is the median of
the ratios within the rounds.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import pathlib
import random
import statistics
import time

from wires import Etcd, MariaDB, Postgres, Redis

OURS = "advisory_keys"
CONTENDED_NAMES = [f"contended-{number}" for number in range(4)]
HOLD = 0.001
"""Seconds for which a contended name is held."""
IN_FLIGHT = 50
"""Pairs that are sent before the first answer is read."""
SCENARIOS = {  # clients, and how
    "1 client, two round trips": (1, "two"),
    "8 clients, two round trips": (8, "two"),
    "1 client, one round trip": (1, "one"),
    "1 client, pipelined": (1, "pipelined"),
    "16 clients on 4 names": (16, "contended"),
}


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=42)
    arguments.add_argument("--seconds", type=float, default=0.25, help="of each run")
    arguments.add_argument("--folder", type=pathlib.Path, required=True, help="with the sockets of the servers, and files with their process ids")
    arguments.add_argument("--version", action="append", default=[], help="of a server, to stand beside the figures")
    arguments.add_argument("--output", help="file for the figures, as JSON")
    options = arguments.parse_args()

    load, runs = os.getloadavg()[1], {}
    for number in range(options.rounds):
        for scenario, (clients, how) in SCENARIOS.items():
            # To see how long some wait takes longer, so it is done less often.
            seldom = 6 if how == "contended" else 1
            if number % seldom:
                continue
            rivals = candidates(options.folder, how)
            for name in sorted(rivals, reverse=number // seldom % 2):
                figures = measure(*rivals[name], clients, how, options.seconds * seldom)
                runs.setdefault(scenario, {}).setdefault(name, []).append(figures)
    result = {
        "versions": options.version, "processor": processor(), "processors": os.cpu_count(), "load": [load, os.getloadavg()[1]],
        "rounds": options.rounds, "seconds": options.seconds,
        "scenarios": {scenario: summary(of_scenario) for scenario, of_scenario in runs.items()},
    }
    print_tables(result)
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
            file.write("\n")


def candidates(folder, how):
    """By name, how to connect for these names, and the process whose time counts, with its children."""
    def process(name):
        return int((folder / name).read_text(encoding="ascii").split()[0])

    def core(names):
        keys = {name: str(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)) for name in names}
        return Postgres(str(folder / "postgres/.s.PGSQL.5432"), "native", "SELECT pg_advisory_lock($1)", "SELECT pg_advisory_unlock($1)", keys)

    def ours(database):
        return lambda names: Postgres(
            str(folder / "postgres/.s.PGSQL.5432"), database, "SELECT lock_keys($1, session => true)", "SELECT unlock_keys($1)",
            {name: f'{{"{name}"}}' for name in names})

    def redis(delay):
        return lambda names: Redis(str(folder / "redis/socket"), names, delay)

    postgres = process("postgres/data/postmaster.pid")
    found = {
        OURS: (ours("native"), postgres),
        "advisory_keys, portable": (ours("portable"), postgres),
        "core": (core, postgres),
        "MariaDB": (lambda names: MariaDB(str(folder / "mariadb/socket"), names), process("mariadb/pid")),
    }
    if how == "contended":
        found["Redis, asked again after 1 ms"] = (redis(0.001), process("redis/pid"))
        found["Redis, asked again after 100 ms"] = (redis(0.1), process("redis/pid"))
    else:
        found["Redis"] = (redis(0), process("redis/pid"))
    # It answers calls in any order, so a lock and its release cannot be sent together.
    if (folder / "etcd/pid").exists() and how in ("two", "contended"):
        found["etcd"] = (lambda names: Etcd(str(folder / "etcd/localhost:1"), names), process("etcd/pid"))
    return found


def measure(connect, process, clients, how, seconds):
    barrier, results = multiprocessing.Barrier(clients + 1, timeout=120), multiprocessing.SimpleQueue()
    held = multiprocessing.RawArray("i", len(CONTENDED_NAMES))
    workers = [multiprocessing.Process(target=work, args=(connect, number, how, seconds, held, barrier, results), daemon=True)
               for number in range(clients)]
    for worker in workers:
        worker.start()
    barrier.wait()
    before = processor_time(process)
    done = [results.get() for _ in workers]
    if None in done:
        raise SystemExit("a client has failed")
    after = processor_time(process)
    # Only now may they go: with a backend goes its time.
    barrier.wait()
    for worker in workers:
        worker.join()
    pairs = sum(served for served, _, _ in done)
    waits = sorted(wait for _, some, _ in done for wait in some)
    return {
        "pairs": sum(served / seconds_of_it for served, _, (_, seconds_of_it) in done),
        "server us": sum(time_then - before.get(thread, 0) for thread, time_then in after.items()) / pairs / 1e3,
        "client us": sum(own for _, _, (own, _) in done) / pairs * 1e6,
        "unfairness": max(served for served, _, _ in done) / max(1, min(served for served, _, _ in done)),
        "p99 ms": waits[int(len(waits) * 0.99)] * 1e3 if waits else None,
        "longest ms": waits[-1] * 1e3 if waits else None,
    }


def work(connect, number, how, seconds, held, barrier, results):
    try:
        locks_and_releases(connect, number, how, seconds, held, barrier, results)
    except BaseException:
        results.put(None)
        barrier.abort()
        raise


def locks_and_releases(connect, number, how, seconds, held, barrier, results):
    """One client: connects, waits for the others, and locks until the time is over."""
    names = CONTENDED_NAMES if how == "contended" else [f"free-{number}"]
    wire = connect(names)
    name, served, waits, random_of_own = names[0], 0, [], random.Random(number)
    barrier.wait()
    begun, processor_begun = time.perf_counter(), time.process_time()
    end = begun + seconds
    while (now := time.perf_counter()) < end:
        if how == "two":
            wire.lock(name)
            wire.release(name)
            served += 1
        elif how == "contended":
            place = random_of_own.randrange(len(names))
            wire.lock(names[place])
            waits.append(time.perf_counter() - now)
            if held[place]:
                raise RuntimeError(f"{names[place]} is held twice")
            held[place] = 1
            time.sleep(HOLD)
            held[place] = 0
            wire.release(names[place])
            served += 1
        else:
            count = IN_FLIGHT if how == "pipelined" else 1
            wire.pairs(name, count)
            served += count
    results.put((served, waits, (time.process_time() - processor_begun, time.perf_counter() - begun)))
    barrier.wait()


def processor_time(process):
    """Nanoseconds for which each thread of a process and of its children has been running, in the kernel too."""
    times = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1]
            if process in (int(folder.name), int(parent)):
                for thread in (folder / "task").iterdir():
                    times[thread.name] = int((thread / "schedstat").read_text(encoding="ascii").split()[0])
        except OSError:  # it is gone
            pass
    return times


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown")


def summary(runs):
    """The medians of each candidate's rounds, and of its ratio to ours within them."""
    figures = {}
    for name, rounds in runs.items():
        figures[name] = {key: statistics.median(one[key] for one in rounds) for key in rounds[0] if rounds[0][key] is not None}
        ratios = [ours["pairs"] / one["pairs"] for one, ours in zip(rounds, runs[OURS])]
        figures[name] |= {"best": max(one["pairs"] for one in rounds), "ours / it": statistics.median(ratios), "least, most": [min(ratios), max(ratios)]}
    return figures


def print_tables(result):
    print("; ".join(result["versions"]))
    print(f"{result['processors']} of {result['processor']}, load {result['load'][0]:.1f} to {result['load'][1]:.1f}, medians of {result['rounds']} rounds")
    for scenario, figures in result["scenarios"].items():
        print(f"\n{scenario:34} {'pairs/s':>9} {'best':>9} {'ours / it':>9} {'server us':>9} {'client us':>9} {'most/least':>10} {'p99 ms':>8} {'longest':>8}")
        for name, of_it in sorted(figures.items(), key=lambda item: -item[1]["pairs"]):
            print(f"{name:34} {of_it['pairs']:9.0f} {of_it['best']:9.0f} {of_it['ours / it']:9.2f} {of_it['server us']:9.1f} {of_it['client us']:9.1f}", end="")
            print(f" {of_it['unfairness']:10.2f} {of_it['p99 ms']:8.1f} {of_it['longest ms']:8.1f}" if "p99 ms" in of_it else "")


if __name__ == "__main__":
    main()
