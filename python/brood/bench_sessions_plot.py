"""Draws the report of `brood bench sessions`.  usage: bench_sessions_plot.py REPORT.json OUT.svg"""
import json
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

INK, SOFT = "#222222", "#8a8a8a"
GREEN, RED, BLUE = "#1b7f4d", "#b5432f", "#2f6db5"


def steps(axes, values, color, label, style="-"):
    values = sorted(values)
    axes.step([1000 * value for value in values], [(i + 1) / len(values) for i in range(len(values))], style, color=color, label=label, lw=2)


def finish(axes, title, place):
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds")
    axes.set_title(title, loc="left", fontsize=11)
    axes.legend(frameon=False, loc=place)


def first_result(axes, series):
    steps(axes, series["first_result_s"], GREEN, "brood session")
    if series["kernel_s"]:
        steps(axes, series["kernel_s"], RED, "Jupyter kernel")
    axes.set_ylabel("share that took no longer")
    finish(axes, "New session or kernel, to the first result", "center")


def cells(axes, series):
    for way, color in (("native", GREEN), ("websocket", BLUE)):
        for kind, style in (("off", "-"), ("with", "--")):
            label = f"{way}, " + ("a checkpoint before it" if kind == "with" else "checkpoints off")
            steps(axes, series[f"cell_{way}_{kind}_s"], color, label, style)
    steps(axes, series["random_order_s"], SOFT, "many sessions, random order")
    finish(axes, "One cell", "lower right")


def main(report_path, out_path):
    with open(report_path) as file:
        report = json.load(file)
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": SOFT,
                         "text.color": INK, "axes.labelcolor": INK, "svg.hashsalt": "brood"})
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True)
    first_result(left, report["series"])
    cells(right, report["series"])
    machine = report["machine"]
    figure.text(0.01, 0.01, f"Linux {machine['kernel']}, {machine['processors']} processors; brood bench sessions", color=SOFT, fontsize=7)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(out_path, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:3])
