"""Draws the report of `brood slap session`.  usage: bench_slap_plot.py REPORT.json OUT.svg"""
import json
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

SOFT = "#8a8a8a"
CURVES = (("create", "session created", "#8a8a8a"), ("first", "and its first result", "#b5432f"), ("cell", "cell", "#1b7f4d"))
TICKS = (0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)


def nines(share):
    """Where a share is on the axis: the rest to 1 halves with each step of equal length."""
    return 1 / max(1e-9, 1 - share)


def draw(axes, latency):
    most = 2
    for name, label, color in CURVES:
        points = latency[name].get("curve", [])[:-1]
        if points:
            axes.plot([nines(share) for share, _ in points], [us / 1000 for _, us in points], color=color, lw=2, label=label)
            most = max(most, nines(points[-1][0]))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(1, most)
    ticks = [tick for tick in TICKS if nines(tick) <= most * 1.01]
    axes.set_xticks([nines(tick) for tick in ticks])
    axes.set_xticklabels([f"{100 * tick:g} %" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("share that took no longer")
    axes.set_ylabel("milliseconds")
    axes.legend(frameon=False, loc="upper left")


def main(report_path, out_path):
    with open(report_path) as file:
        report = json.load(file)
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": SOFT, "svg.hashsalt": "brood"})
    figure, axes = plt.subplots(figsize=(7, 4))
    draw(axes, report["latency"])
    axes.set_title(
        f"{report['sessions']} sessions, {report['cells_per_second']:.0f} cells/s on {report['threads']} threads x {report['connections']} connections",
        loc="left", fontsize=11,
    )
    figure.tight_layout()
    figure.savefig(out_path, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:3])
