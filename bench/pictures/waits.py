"""Draws what make bench-waits measured: waits per second, and how many sessions stood in line, by the first part of the names."""

import argparse
import collections
import csv
import itertools
import pathlib

from style import CORE, OTHERS, OURS, draw

SPAN = 5
"""How many samples later the next one is looked at, for the rate in between."""


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--output", type=pathlib.Path, required=True)
    arguments.add_argument("samples", type=pathlib.Path, help="seconds, first part, waits, wait_time in milliseconds")
    options = arguments.parse_args()
    kinds = collections.defaultdict(list)
    with open(options.samples, encoding="utf-8", newline="") as file:
        for time, kind, waits, wait_time in csv.reader(file):
            kinds[kind].append((float(time), int(waits), float(wait_time) / 1000))

    def paint(figure, _):
        above, below = figure.subplots(2, sharex=True)
        for (kind, samples), colour in zip(sorted(kinds.items()), (OTHERS, OURS, CORE)):
            minutes, *rates = zip(*rates_of(samples))
            for axes, rate in zip((above, below), rates):
                axes.plot(minutes, rate, color=colour, label=kind)
        above.set_ylabel("waits per second")
        below.set_ylabel("seconds waited per second")
        below.set_xlabel("minutes")
        for axes in (above, below):
            axes.set_ylim(bottom=0)
        # Room for the legend.
        above.set_ylim(top=above.get_ylim()[1] * 1.25)
        above.set_title("advisory_lock_stats under load, by the first part of the names")
        above.legend(frameon=False, ncols=len(kinds), loc="upper right", fontsize=8)

    draw(options.output, (7.2, 4.2), paint)


def rates_of(samples):
    """From two counts that only grow, (minutes, waits per second, seconds waited in each second)."""
    for then, now in itertools.pairwise(samples[::SPAN]):
        between = now[0] - then[0]
        yield now[0] / 60, (now[1] - then[1]) / between, (now[2] - then[2]) / between


if __name__ == "__main__":
    main()
