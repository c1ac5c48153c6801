"""What all measurements share: rows of the table, medians, and the time of a statement."""

import os
import pathlib
import statistics
import subprocess
import time

LONGEST = 120
"""Seconds that a run of pgbench may last."""


def row(what, value, reference, unit, ratio, target=None):
    return {"what": what, "value": value, "reference": reference, "unit": unit, "ratio": ratio, "target": target}


def medians(rounds, candidates):
    """Runs each candidate once per round, every other round backwards; the median of each, by name."""
    figures = {name: [] for name in candidates}
    order = list(candidates)
    for _ in range(rounds):
        for name in order:
            figures[name].append(candidates[name]())
        order.reverse()
    return {name: statistics.median(values) for name, values in figures.items()}


def seconds(db, statement, parameters=None):
    begun = time.perf_counter()
    db.execute(statement, parameters)
    return time.perf_counter() - begun


def pgbench(script, *options, clients=1, environment=None):
    """Runs a file with a script; what pgbench says of it."""
    command = ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-f", script, *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | (environment or {}))
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def tps(script, duration, *options, clients=1, environment=None):
    """Transactions per second of a file with a script."""
    while duration <= LONGEST:
        said = pgbench(script, "-T", str(duration), *options, clients=clients, environment=environment)
        for line in said.splitlines():
            if line.startswith("tps = "):
                return float(line.split()[2])
        # Its clock runs while the clients connect. On a busy machine that can be all of the time; then there is no transaction to speak of.
        duration *= 2
    raise RuntimeError(f"no transaction has ended in {duration // 2} s: {pathlib.Path(script).read_text(encoding='utf-8')}")
