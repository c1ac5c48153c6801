"""What the pictures share: each is drawn twice, for pages on white and on black, with its text as text."""

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

PAGES = {
    "": {"text": "#1f2328", "faint": "#59636e", "line": "#d1d9e0", "box": "#f6f8fa"},
    "-dark": {"text": "#e6edf3", "faint": "#9198a1", "line": "#3d444d", "box": "#161b22"},
}
"""Colours by what is added to the name of the file."""

# Told apart on white and on black.
OURS, OURS_TOO, CORE, OTHERS = "#2e9e6b", "#6cbf98", "#7f8fa6", "#e1873b"


def draw(output, size, paint, **layout):
    """Has paint(figure, colours) draw for both kinds of page."""
    for page, colours in PAGES.items():
        settings = {
            "svg.fonttype": "none", "svg.hashsalt": "advisory_keys",  # the same file for the same figures
            "text.color": colours["text"], "axes.labelcolor": colours["text"], "axes.edgecolor": colours["line"],
            "xtick.color": colours["faint"], "ytick.color": colours["line"], "ytick.labelcolor": colours["text"],
            "xtick.labelcolor": colours["faint"], "font.size": 9, "axes.titlesize": 10,
            "axes.spines.top": False, "axes.spines.right": False,
        }
        with plt.rc_context(settings):
            figure = plt.figure(figsize=size, layout="constrained", **layout)
            paint(figure, colours)
            figure.savefig(output.with_stem(output.stem + page), transparent=True, metadata={"Date": None})
            plt.close(figure)


def write(output, paint):
    """Writes what paint(colours) says for both kinds of page."""
    for page, colours in PAGES.items():
        output.with_stem(output.stem + page).write_text(paint(colours), encoding="utf-8")
