"""In charge of the picture: how far each aim is off, and how what grows grows."""
import statistics

import matplotlib

matplotlib.use("svg")
# Text stays text, and the same numbers make the same file.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "godwit", "font.size": 8})
from matplotlib import pyplot  # noqa: E402 (the backend is chosen first)

MET, MISSED = "#2a7f62", "#c8553d"
LINES = {"Godwit": "#2a7f62", "untracked": "#7a7a7a", "statement trigger": "#d9a441"}


def draw(sections, path):
    bars = [bar for section in sections for row in section.rows for bar in bars_of(row)]
    panels = {}
    for section in sections:
        for row in section.rows:
            if row.growth:
                # The points of a line may stand in two sections: the size that has an aim, and the others.
                panels.setdefault((section.name.removesuffix("-growth"), row.growth[0]), []).append(row)
    panels = [sorted(rows, key=lambda row: row.growth[1]) for rows in panels.values() if len(rows) > 1]
    columns = 4
    below = -(-len(panels) // columns)
    heights = [1.5 + 0.16 * len(bars), max(2.6 * below, 0.1)]
    figure = pyplot.figure(figsize=(12, sum(heights)), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=heights)
    if bars:
        draw_bars(upper.add_subplot(), bars)
    for number, rows in enumerate(panels):
        draw_growth(lower.add_subplot(below, columns, number + 1), rows)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def bars_of(row):
    for name, aim, reached in row.aims():
        share = reached / aim.bound if aim.is_least else aim.bound / reached
        yield f"{row.what}{', against ' if name else ''}{name}", share


def draw_bars(axes, bars):
    names, shares = zip(*reversed(bars))
    axes.barh(range(len(bars)), [share - 1 for share in shares], left=1, height=0.7,
              color=[MET if share >= 1 else MISSED for share in shares])
    axes.set_yticks(range(len(bars)), names)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_ylim(-0.6, len(bars) - 0.4)
    axes.set_xlabel("times its aim: right of the line it is met")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def draw_growth(axes, rows):
    sizes = [row.growth[1] for row in rows]
    axes.plot(sizes, [statistics.median(row.values) for row in rows], "o-", color=LINES["Godwit"], label="Godwit")
    for name in dict.fromkeys(against.name for row in rows for against in row.against):
        points = [(row.growth[1], statistics.median(against.values))
                  for row in rows for against in row.against if against.name == name]
        if len(points) > 1:
            axes.plot(*zip(*points), "o--", color=LINES.get(name, "#7a7a7a"), label=name, linewidth=0.9, markersize=3)
    axes.set_title(f"{rows[0].growth[0]}, {'rows a second' if rows[0].unit == '/s' else 'ms'}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=7)
