"""Draws the report of `brood bench run`.  usage: bench_plot.py REPORT.json OUT.svg"""
import json
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

INK, SOFT = "#222222", "#8a8a8a"
COLORS = {"true": "#8a8a8a", "warm": "#1b7f4d", "cold": "#b5432f", "plain": "#b5432f", "image": "#1b7f4d"}


def steps(axes, values, color, label):
    values = sorted(values)
    axes.step([v / 1000 for v in values], [(i + 1) / len(values) for i in range(len(values))], color=color, label=label, lw=2)


def latency(axes, series):
    steps(axes, series["true_us"], COLORS["true"], "/bin/true")
    steps(axes, series["warm_us"], COLORS["warm"], "brood run, warm")
    steps(axes, series["cold_us"], COLORS["cold"], "python3, cold")
    axes.set_xscale("log")
    axes.set_xlabel("whole process, milliseconds")
    axes.set_ylabel("share of runs that took no longer")
    axes.set_title("Start-up with numpy, pandas and pyplot", loc="left", fontsize=11)
    axes.legend(frameon=False, loc="center", bbox_to_anchor=(0.72, 0.5))


def fork(axes, rows):
    for mode in ("plain", "image"):
        chosen = [row for row in rows if row["mode"] == mode]
        heap = [row["heap_mib"] for row in chosen]
        axes.plot(heap, [row["fork_exit_us"] / 1000 for row in chosen], "o-", color=COLORS[mode], label=f"{mode}: fork + exit")
        axes.plot(heap, [row["fork_us"] / 1000 for row in chosen], "o--", color=COLORS[mode], label=f"{mode}: fork", alpha=0.7)
    axes.set_yscale("log")
    axes.set_xlabel("Python objects in the process, MiB")
    axes.set_ylabel("milliseconds, median")
    axes.set_title("One fork, without and with the image", loc="left", fontsize=11)
    axes.set_ylim(top=8 * axes.get_ylim()[1])  # room for the legend, which the lines would run through
    axes.legend(frameon=False, loc="upper left", ncol=2)


def main(report_path, out_path):
    with open(report_path) as file:
        report = json.load(file)
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": SOFT,
                         "text.color": INK, "axes.labelcolor": INK, "svg.hashsalt": "brood"})
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
    latency(left, report["series"])
    fork(right, report["series"]["fork"])
    machine = report["machine"]
    figure.text(0.01, 0.01, f"Linux {machine['kernel']}, {machine['processors']} processors; brood bench run", color=SOFT, fontsize=7)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(out_path, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:3])
