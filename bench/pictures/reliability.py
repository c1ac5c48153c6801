"""Draws from reports of the torture how often an answer about a lock was wrong when its timeout raced with the release."""

import argparse
import json
import pathlib
import re

from style import CORE, OTHERS, OURS, draw

# As the reports name them.
SIDES = {"core": CORE, "naive wrapper": OTHERS, "advisory_keys": OURS}


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--output", type=pathlib.Path, required=True)
    arguments.add_argument("reports", nargs="+", type=pathlib.Path)
    options = arguments.parse_args()
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in options.reports]
    reports.sort(key=version)

    def paint(figure, _):
        axes = figure.subplots()
        width = 0.8 / len(SIDES)
        for number, (side, colour) in enumerate(SIDES.items()):
            places = [place + (number - 1) * width for place in range(len(reports))]
            bars = axes.bar(places, [wrong_of_1000(report, side) for report in reports], width * 0.9,
                            color=colour, label=side)
            axes.bar_label(bars, fmt="%.0f", padding=2, fontsize=8)
        axes.set_xticks(range(len(reports)), [f"Postgres {report['server_version'].split()[0]}" for report in reports])
        axes.set_ylabel("wrong answers of 1,000")
        axes.set_title("Releases that race with a timeout: answers that disagree with what is held")
        axes.set_yticks([])
        axes.margins(y=0.2)
        axes.legend(frameon=False, ncols=len(SIDES), loc="upper center", fontsize=8)

    draw(options.output, (7.2, 3.2), paint)


def version(report):
    return [int(number) for number in re.findall(r"\d+", report["server_version"].split()[0])]


def wrong_of_1000(report, side):
    counts = report["counts"]
    return 1000 * counts[f"racing timeouts, wrong answers: {side}"] / counts[f"racing timeouts: {side}"]


if __name__ == "__main__":
    main()
