"""Draws what make bench-rivals measured."""

import argparse
import json
import pathlib

from style import CORE, OTHERS, OURS, OURS_TOO, draw

COLOURS = {"advisory_keys": OURS, "advisory_keys, portable": OURS_TOO, "core": CORE}


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--output", type=pathlib.Path, required=True)
    arguments.add_argument("figures", type=pathlib.Path)
    options = arguments.parse_args()
    scenarios = json.loads(options.figures.read_text(encoding="utf-8"))["scenarios"]
    alone, pipelined = scenarios["1 client, two round trips"], scenarios["1 client, pipelined"]
    contended = scenarios["16 clients on 4 names"]

    def paint(figure, _):
        (first, second), (third, fourth) = figure.subplots(2, 2)
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
        bars(first, "1 client, a free name: pairs per second", alone, "pairs", lambda f: f"{f['pairs']:,.0f}")
        bars(second, "the same, 50 pairs under way", pipelined, "pairs", lambda f: f"{f['pairs']:,.0f}")
        bars(third, "16 clients on 4 names: pairs per second", contended, "pairs", lambda f: f"{f['pairs']:,.0f}")
        bars(fourth, "the same: 99 in 100 wait (most / least served)", contended, "p99 ms",
             lambda f: f"{f['p99 ms']:,.0f} ms (\N{MULTIPLICATION SIGN}{f['unfairness']:.1f})", best=min)

    draw(options.output, (9.2, 5), paint)


def bars(axes, title, figures, key, say, best=max):
    names = sorted(figures, key=lambda name: figures[name][key], reverse=best is min)
    drawn = axes.barh([shorter(name) for name in names], [figures[name][key] for name in names],
                      color=[COLOURS.get(name, OTHERS) for name in names])
    axes.bar_label(drawn, [say(figures[name]) for name in names], padding=3, fontsize=8)
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(left=False)
    axes.margins(x=0.25)


def shorter(name):
    return name.replace(", asked again after ", ", every ")


if __name__ == "__main__":
    main()
