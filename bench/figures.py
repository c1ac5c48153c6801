"""What all measurements share: rows of the table, medians, and the time of a statement."""

import os
import statistics
import subprocess
import time


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


def pgbench(script, duration, clients=1, environment=None, options=()):
    """Transactions per second of a file with a script."""
    command = ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-T", str(duration), "-f", script, *options]
    output = subprocess.run(command, check=True, capture_output=True, text=True,
                            env=os.environ | (environment or {})).stdout
    return next(float(line.split()[2]) for line in output.splitlines() if line.startswith("tps"))
