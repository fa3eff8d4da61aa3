#!/usr/bin/env python3
"""When do people cycle, and what does the weather do to it?

Usage: analysis.py measurements.csv picture.png

Prints a report and draws four panels. README.md describes the data.
"""

import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

HOUR = pd.Timedelta(hours=1)
WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
COLOURS = {
    "Harbour Bridge": "#1f5a8a",
    "University": "#d9822b",
    "Market Street": "#8a4f9e",
    "Lake Path": "#2f8f6b",
}
INK, GRID = "#333a44", "#e3e6ea"


def read(path):
    table = pd.read_csv(
        path, low_memory=False, dtype={"station": "category", "day": "category", "sky": "category"}
    )
    table["time"] = pd.to_datetime(table["time"], format="%Y-%m-%d %H:%M")
    return table


def complete(table):
    """One row for every station and hour, with weather; hours without a row get NaN rides."""
    hours = pd.date_range(table["time"].min(), table["time"].max(), freq=HOUR, name="time")
    weather = table.groupby("time")[["temperature_c", "rain_mm", "wind_ms"]].mean()
    weather = weather.reindex(hours).interpolate(limit=6)
    kinds = table.drop_duplicates("time").set_index("time")[["day", "sky"]]
    weather = weather.join(kinds.reindex(hours).ffill())

    grid = pd.MultiIndex.from_product(
        [hours, table["station"].cat.categories], names=["time", "station"]
    )
    rides = table.set_index(["time", "station"])["rides"].reindex(grid).reset_index()
    full = rides.merge(weather, left_on="time", right_index=True, how="left")
    full["hour"] = full["time"].dt.hour
    full["month"] = full["time"].dt.month
    full["workday"] = full["day"].eq("workday")
    return full


def normal_level(full):
    """The usual rides by station, month, kind of day and hour: a median, so faults do no harm."""
    keys = ["station", "month", "workday", "hour"]
    typical = full.groupby(keys, observed=True)["rides"].median().rename("typical").reset_index()
    return full.merge(typical, on=keys, how="left")


def clean(full):
    """Drop what a counter cannot have seen and fill the holes with the usual level of that week."""
    wide = full.pivot(index="time", columns="station", values=["rides", "typical"])
    rides, typical = wide["rides"], wide["typical"]
    # Far above the usual, or silent for six hours in a row in which there should be some rides.
    spike = rides > 4 * typical + 120
    silent = (rides.eq(0) & typical.gt(4)).rolling(6).sum().eq(6)
    stuck = silent[::-1].rolling(6, min_periods=1).max()[::-1].eq(1)

    good = rides.mask(spike | stuck)
    week = good.resample("D").sum() / typical.where(good.notna()).resample("D").sum(min_count=1)
    level = week.rolling(7, center=True, min_periods=1).median()
    level = level.reindex(rides.index, method="ffill")
    filled = good.fillna((typical * level).round())

    marks = {"missing": rides.isna(), "stuck": stuck, "spike": spike, "clean": filled}
    marks = pd.concat({name: part.stack() for name, part in marks.items()}, axis=1)
    full = full.merge(marks, left_on=["time", "station"], right_index=True, how="left")
    full["date"] = full["time"].dt.normalize()
    return full


def all_stations(daily):
    """One row per day: the rides of all stations together and the weather, which they share."""
    return daily.groupby("date").agg(
        rides=("clean", "sum"),
        temperature_c=("temperature_c", "first"),
        rain_mm=("rain_mm", "first"),
        workday=("workday", "first"),
    )


def weather_effect(daily):
    """Least squares on the logarithm: by how much one unit of weather changes a day's rides."""
    columns = [
        np.ones(len(daily)),
        daily["temperature_c"],
        daily["rain_mm"],
        daily["wind_ms"],
        ~daily["workday"],
    ]
    design = np.column_stack(columns).astype(float)
    target = np.log(daily["clean"])
    answer = np.linalg.lstsq(design, target, rcond=None)[0]
    left = target - design @ answer
    explained = 1 - (left**2).sum() / ((target - target.mean()) ** 2).sum()
    return np.expm1(answer[1:]), explained


def heading(text):
    print(f"\n{text}\n{'-' * len(text)}")


def report_quality(table, full):
    heading("The data")
    print(f"{len(table):,} rows, {table['time'].min():%d %b %Y} to {table['time'].max():%d %b %Y}, "
          f"{table['station'].nunique()} stations")
    quality = full.groupby("station", observed=True).agg(
        hours=("rides", "size"), missing=("missing", "sum"),
        stuck=("stuck", "sum"), spikes=("spike", "sum"),
    )
    bad = quality[["missing", "stuck", "spikes"]].sum(axis=1)
    quality["good %"] = 100 * (1 - bad / quality["hours"])
    print(quality.round(1).to_string())


def report_rides(full, by_month):
    heading("Rides per day, by month")
    days = full.groupby("month")["date"].nunique()
    table = by_month.div(days, axis=0)
    table["all"] = table.sum(axis=1)
    table.index = MONTHS[: len(table)]
    print(table.round(0).astype(int).to_string())

    heading("Busiest hour")
    profile = full.groupby(["station", "workday", "hour"], observed=True)["clean"].mean()
    peak = profile.groupby(["station", "workday"], observed=True).agg(["idxmax", "max"])
    for station, rows in peak.groupby("station", observed=True):
        (_, _, free), (_, _, work) = rows["idxmax"]
        free_rides, work_rides = rows["max"]
        print(f"{station:<15} workdays {work:02d}:00 {work_rides:4.0f} rides,   "
              f"free days {free:02d}:00 {free_rides:4.0f} rides")
    return profile


def report_weather(daily):
    heading("Weather")
    total = all_stations(daily)
    rain = pd.cut(
        total["rain_mm"], [-1, 0, 2, 5, 100], labels=["dry", "to 2 mm", "to 5 mm", "more"]
    )
    warmth = pd.cut(
        total["temperature_c"], [-50, 0, 8, 16, 50], labels=["frost", "cool", "mild", "warm"]
    )
    table = total.pivot_table(
        index=warmth, columns=rain, values="rides", aggfunc="mean", observed=False
    )
    table.index.name, table.columns.name = "rides/day", None
    print(table.to_string(float_format=lambda value: f"{value:.0f}", na_rep="-"))
    print()
    for station, rows in daily.groupby("station", observed=True):
        (degree, rain_mm, wind, free), explained = weather_effect(rows)
        print(f"{station:<15} +1 degree {degree:+5.1%}, +1 mm rain {rain_mm:+6.1%}, "
              f"+1 m/s wind {wind:+6.1%}, free day {free:+6.1%}  (R2 {explained:.2f})")


def report_days(per_day):
    heading("Best days and weeks")
    total = per_day.sum(axis=1)
    for day, rides in total.nlargest(3).items():
        print(f"{day:%a %d %b}  {rides:7,.0f} rides")
    week = total.rolling(7).sum()
    print(f"best seven days end on {week.idxmax():%d %b}: {week.max():,.0f} rides, "
          f"worst on {week.idxmin():%d %b}: {week.min():,.0f}")
    print(f"the year: {total.sum():,.0f} rides")


def style(axes, title):
    axes.set_title(title, loc="left", y=1, pad=8, fontsize=11, fontweight="bold", color=INK)
    axes.tick_params(colors=INK, labelsize=8.5, length=0, pad=5)
    for side in axes.spines.values():
        side.set_visible(False)


def draw_year(axes, per_day):
    x = np.arange(len(per_day))
    smooth = per_day.rolling(7, center=True, min_periods=4).mean()
    for station, colour in COLOURS.items():
        axes.plot(x, per_day[station], color=colour, alpha=0.18, linewidth=0.7)
        axes.plot(x, smooth[station], color=colour, linewidth=1.8, label=station)
    starts = np.flatnonzero(per_day.index.day == 1)
    axes.set_xticks(starts[::2], [MONTHS[per_day.index[i].month - 1] for i in starts[::2]])
    axes.set_xlim(0, len(per_day) - 1)
    axes.set_ylim(0, smooth.max().max() * 1.45)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_ylabel("rides per day", fontsize=9, color=INK)
    axes.legend(loc="upper left", ncol=2, fontsize=8, frameon=False, labelcolor=INK)
    style(axes, "The year (daily and 7-day mean)")


def draw_week(figure, axes, full):
    weekday = full["time"].dt.weekday.rename("weekday")
    mean = full.groupby([weekday, "hour"])["clean"].mean().unstack()
    image = axes.imshow(mean, aspect="auto", cmap="YlGnBu", vmin=0)
    axes.set_yticks(range(7), WEEKDAYS)
    axes.set_xticks(range(0, 24, 3), [f"{hour:02d}:00" for hour in range(0, 24, 3)])
    axes.hlines(np.arange(0.5, 6), -0.5, 23.5, color="white", linewidth=2)
    bar = figure.colorbar(image, ax=axes, pad=0.02, fraction=0.04)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=INK, labelsize=8, length=0)
    style(axes, "The week (mean rides per hour and station)")


def draw_profiles(axes, profile):
    for station, colour in COLOURS.items():
        axes.plot(profile[station, True], color=colour, linewidth=1.8)
        axes.plot(profile[station, False], color=colour, linewidth=1.4, linestyle=(0, (2, 1.6)))
    axes.plot([], [], color=INK, linewidth=1.8, label="workdays")
    axes.plot([], [], color=INK, linewidth=1.4, linestyle=(0, (2, 1.6)), label="free days")
    axes.set_xticks(range(0, 24, 3), [f"{hour:02d}:00" for hour in range(0, 24, 3)])
    axes.set_xlim(0, 23)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_ylabel("rides per hour", fontsize=9, color=INK)
    axes.legend(loc="upper left", fontsize=8, frameon=False, labelcolor=INK)
    style(axes, "The day (by station, colours as above)")


def draw_weather(axes, daily):
    total = all_stations(daily)
    looks = [
        ("dry workday", total["workday"] & total["rain_mm"].eq(0), "#d9822b", "o"),
        ("rainy workday", total["workday"] & total["rain_mm"].gt(0), "#1f5a8a", "o"),
        ("dry free day", ~total["workday"] & total["rain_mm"].eq(0), "#d9822b", "^"),
        ("rainy free day", ~total["workday"] & total["rain_mm"].gt(0), "#1f5a8a", "^"),
    ]
    for label, chosen, colour, marker in looks:
        part = total[chosen]
        axes.plot(part["temperature_c"], part["rides"], marker, color=colour, markersize=4.6,
                  alpha=0.75, markeredgecolor="white", markeredgewidth=0.4, label=label)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_ylim(0, total["rides"].max() * 1.22)
    axes.set_xlabel("mean temperature, \N{DEGREE SIGN}C", fontsize=9, color=INK)
    axes.set_ylabel("rides per day, all stations", fontsize=9, color=INK)
    axes.legend(loc="upper left", ncol=2, fontsize=8, frameon=False, labelcolor=INK)
    style(axes, "The weather (one mark is one day)")


def draw(path, full, per_day, profile, daily):
    figure, axes = plt.subplots(2, 2, figsize=(12.5, 8.2), dpi=100)
    figure.subplots_adjust(
        left=0.065, right=0.97, top=0.885, bottom=0.075, hspace=0.3, wspace=0.17
    )
    figure.text(
        0.022, 0.95, "A year of cycling at four counters", fontsize=16, fontweight="bold", color=INK
    )
    draw_year(axes[0, 0], per_day)
    draw_week(figure, axes[0, 1], full)
    draw_profiles(axes[1, 0], profile)
    draw_weather(axes[1, 1], daily)
    # No version in the file, so that equal pictures are equal files; light compression saves time.
    figure.savefig(path, metadata={"Software": None}, pil_kwargs={"compress_level": 1})
    plt.close(figure)


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: analysis.py measurements.csv picture.png")
    table = read(sys.argv[1])
    full = clean(normal_level(complete(table)))
    per_day = full.pivot_table(index="time", columns="station", values="clean", aggfunc="sum")
    per_day = per_day.resample("D").sum()
    by_month = full.pivot_table(index="month", columns="station", values="clean", aggfunc="sum")
    by_month.columns = by_month.columns.tolist()
    daily = full.groupby(["date", "station"], observed=True).agg(
        clean=("clean", "sum"), temperature_c=("temperature_c", "mean"),
        rain_mm=("rain_mm", "sum"), wind_ms=("wind_ms", "mean"), workday=("workday", "first"),
    ).reset_index()

    report_quality(table, full)
    profile = report_rides(full, by_month)
    report_weather(daily)
    report_days(per_day)
    draw(sys.argv[2], full, per_day, profile, daily)


if __name__ == "__main__":
    main()
