"""Draws what advisory_lock_stats said over time: waits per second, and how many sessions stood in line, by the first part of the names."""

import argparse
import collections
import csv
import pathlib

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

# Told apart on white and on black.
COLOURS = ["#e1873b", "#2e9e6b", "#7f8fa6"]

SPAN = 5
"""Samples over which a rate is taken."""


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--output", type=pathlib.Path, required=True)
    arguments.add_argument("samples", type=pathlib.Path, help="time, first part, waits, wait_time")
    options = arguments.parse_args()
    kinds = collections.defaultdict(list)
    with open(options.samples, encoding="utf-8", newline="") as file:
        for time, kind, waits, wait_time in csv.reader(file):
            kinds[kind].append((float(time), int(waits), float(wait_time)))
    begin = min(samples[0][0] for samples in kinds.values())

    # The same file for the same figures.
    plt.rcParams["svg.hashsalt"] = "advisory_keys"
    figure, (above, below) = plt.subplots(2, sharex=True, figsize=(7.2, 4.2), layout="constrained")
    for (kind, samples), colour in zip(sorted(kinds.items()), COLOURS):
        pairs = list(zip(samples, samples[SPAN:]))
        times = [(now[0] - begin) / 60 for _, now in pairs]
        above.plot(times, [(now[1] - then[1]) / (now[0] - then[0]) for then, now in pairs], color=colour, label=kind)
        # Seconds waited in each second.
        below.plot(times, [(now[2] - then[2]) / 1000 / (now[0] - then[0]) for then, now in pairs], color=colour)
    above.set_ylabel("waits per second")
    below.set_ylabel("seconds waited per second")
    below.set_xlabel("minutes")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(bottom=0)
    above.set_title("advisory_lock_stats under load, by the first part of the names", fontsize=10)
    above.legend(frameon=False, ncols=len(COLOURS), loc="upper right", bbox_to_anchor=(1, 1.02), fontsize=8)
    figure.savefig(options.output, metadata={"Date": None})


if __name__ == "__main__":
    main()
