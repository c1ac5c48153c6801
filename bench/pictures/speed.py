"""Draws what make bench measured: how long ours takes, compared with what people use without it."""

import argparse
import json
import pathlib

from style import OTHERS, OURS, draw

LABELS = {
    "advisory_key / hashtextextended(array_to_string)": "the key of a name / hashtextextended",
    "SQL expression / advisory_key": "the key of a name / the same as an SQL expression",
    "try_lock_keys without names / core's try, 1 client(s)": "try_lock_keys without recording names / core's, 1 client",
    "try_lock_keys with names / try_lock_keys without names, 1 client(s)": "recording names / not, 1 client",
    "try_lock_keys without names / core's try, 8 client(s)": "without recording names / core's, 8 clients",
    "try_lock_keys with names / try_lock_keys without names, 8 client(s)": "recording names / not, 8 clients",
    "session lock + unlock with timeout / core's": "lock and unlock with a timeout / core's without",
    "100 keys: one call / 100 calls in one statement": "100 names in one call / in 100 calls of one statement",
    "100 keys: one call / 100 statements": "100 names in one call / in 100 statements",
    "CALL acquire_keys / SELECT lock_keys, prepared": "CALL acquire_keys / SELECT lock_keys",
    "refused lock_keys / refused try, holder in a transaction": "an error that names the holder / a refusal that does not",
    "lock + unlock with 10,000 keys held / with 10": "lock and unlock while 10,000 are held / while 10 are",
}
"""What is drawn, by what make bench calls it."""

UPSIDE_DOWN = {"SQL expression / advisory_key"}
"""Where ours comes second."""


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--output", type=pathlib.Path, required=True)
    arguments.add_argument("figures", type=pathlib.Path)
    options = arguments.parse_args()
    rows = {row["what"].strip(): row for row in json.loads(options.figures.read_text(encoding="utf-8"))["rows"]}
    ratios = {label: time_ratio(rows[what]) for what, label in LABELS.items()}

    def paint(figure, colours):
        axes = figure.subplots()
        figure.get_layout_engine().set(w_pad=0.1)
        places = range(len(ratios), 0, -1)
        axes.barh(places, [ratio - 1 for ratio in ratios.values()], left=1,
                  color=[OURS if ratio <= 1 else OTHERS for ratio in ratios.values()])
        for place, ratio in zip(places, ratios.values()):
            axes.annotate(f"{ratio:.2f}", (ratio, place), xytext=(4 if ratio > 1 else -4, 0), textcoords="offset points",
                          ha="left" if ratio > 1 else "right", va="center", fontsize=8)
        axes.set_xscale("log")
        axes.axvline(1, color=colours["faint"], linewidth=1)
        axes.set_yticks(places, list(ratios))
        ticks = [tick for tick in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5) if min(ratios.values()) <= tick <= max(ratios.values())]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlim(min(ratios.values()) / 1.6, max(*ratios.values(), 2) * 1.4)
        axes.tick_params(left=False)
        axes.spines["left"].set_visible(False)
        axes.set_title("time of the first / time of the second: left of 1 the first is faster", fontsize=9, loc="left")

    draw(options.output, (9.2, 3.8), paint)


def time_ratio(row):
    ratio = row["value"] / row["reference"]
    return 1 / ratio if row["unit"] == "tps" or row["what"] in UPSIDE_DOWN else ratio


if __name__ == "__main__":
    main()
