#!/usr/bin/env python3
"""Write measurements.csv: one made-up year of hourly bicycle counts with weather.

Usage: make_data.py [OUTPUT.csv]

The seed is fixed, so the file is the same every time. README.md describes the columns.
"""

import csv
import math
import random
import sys
from datetime import date, datetime, timedelta
from pathlib import Path

SEED = 20230101
START = datetime(2023, 1, 1)
HOURS = 365 * 24

HOLIDAYS = {
    date(2023, month, day)
    for month, day in [
        (1, 1), (4, 7), (4, 10), (5, 1), (5, 18), (5, 29), (10, 3), (12, 25), (12, 26),
    ]
}

# Rides in an average hour, share of commuters, growth over the year.
STATIONS = {
    "Harbour Bridge": (142, 0.75, 0.06),
    "University": (118, 0.85, 0.02),
    "Market Street": (88, 0.45, 0.00),
    "Lake Path": (64, 0.10, 0.12),
}

# A whole outage leaves no rows at all; a stuck counter reports zero.
OUTAGES = {
    "Harbour Bridge": [(datetime(2023, 2, 14, 9), 61), (datetime(2023, 9, 4, 2), 15)],
    "University": [(datetime(2023, 7, 31, 6), 131)],
    "Market Street": [(datetime(2023, 11, 8, 13), 44)],
    "Lake Path": [(datetime(2023, 3, 20, 0), 96), (datetime(2023, 10, 28, 17), 29)],
}
STUCK = {
    "University": [(datetime(2023, 4, 25, 7), 16)],
    "Market Street": [(datetime(2023, 6, 14, 6), 30)],
    "Lake Path": [(datetime(2023, 8, 9, 5), 18)],
}


def bump(hour, centre, width):
    """A bell over the hours of the day."""
    return math.exp(-(((hour - centre) / width) ** 2))


def kind_of_day(day):
    if day in HOLIDAYS:
        return "holiday"
    return "weekend" if day.weekday() >= 5 else "workday"


COMMUTE = [
    0.04 + 2.9 * bump(h, 7.9, 1.2) + 2.5 * bump(h, 17.2, 1.9) + 0.75 * bump(h, 12.8, 3.2)
    for h in range(24)
]
LEISURE = [0.05 + 1.9 * bump(h, 15.2, 3.6) + 0.5 * bump(h, 11.0, 2.0) for h in range(24)]


def expected(station, moment, weather):
    """The mean number of rides in this hour."""
    base, commuters, growth = STATIONS[station]
    day = moment.date()
    kind = kind_of_day(day)
    commute = COMMUTE[moment.hour] * {"workday": 1.0, "weekend": 0.12, "holiday": 0.08}[kind]
    leisure = LEISURE[moment.hour] * {"workday": 0.75, "weekend": 1.75, "holiday": 1.55}[kind]
    if kind == "workday" and moment.weekday() == 4 and moment.hour >= 14:
        commute *= 0.86  # people leave early on Fridays
    if kind != "workday" and moment.hour < 4:
        leisure += 0.22  # and stay out late at weekends
    month_day = (day.month, day.day)
    if (7, 24) <= month_day <= (9, 3):
        commute *= 0.45 if station == "University" else 0.78
    if month_day >= (12, 22) or month_day <= (1, 6):
        commute *= 0.5

    warmth = 1 / (1 + math.exp(-(weather["temperature"] - 11) / 6.5))
    too_hot = 1 - 0.02 * max(0.0, weather["temperature"] - 28)
    rain = math.exp(-0.30 * min(weather["rain"], 5.0))
    wind = 1 - 0.028 * max(0.0, weather["wind"] - 4)
    snow = 0.45 if weather["sky"] == "snow" else 1.0
    tough = (0.55 + 0.75 * warmth) * (0.4 + 0.6 * rain) * wind * snow
    tender = (0.15 + 1.55 * warmth) * too_hot * (0.1 + 0.9 * rain) * wind * snow
    year = moment.timetuple().tm_yday / 365
    mix = commuters * commute * tough + (1 - commuters) * leisure * tender
    return base * (1 + growth * year) * mix


def make_weather(rng):
    """One record per hour: slow random walks around the seasons, showers, wind."""
    hours = []
    drift, wind, cloud, shower = 0.0, 3.5, 0.5, 0.0
    for index in range(HOURS):
        moment = START + timedelta(hours=index)
        day = moment.timetuple().tm_yday + moment.hour / 24
        season = -math.cos(2 * math.pi * (day - 20) / 365)
        drift += -0.008 * drift + rng.gauss(0, 0.42)
        wind = max(0.2, wind + 0.07 * (3.6 - wind) + rng.gauss(0, 0.55))
        cloud = min(1.0, max(0.0, cloud + 0.035 * (0.53 - cloud) + rng.gauss(0, 0.085)))
        if shower > 0:
            shower -= 1
        elif cloud > 0.7 and rng.random() < 0.11:
            shower = rng.randint(1, 7)
        rain = round(rng.expovariate(1 / 1.1), 1) if shower > 0 else 0.0
        daily = -math.cos(2 * math.pi * (moment.hour - 3.5) / 24)
        temperature = 10.4 + 9.6 * season + drift + daily * (2.0 + 1.6 * (1 - cloud) + 1.2 * season)
        if rain > 0:
            sky = "snow" if temperature < 0.8 else "rain"
        elif cloud > 0.8 and wind < 1.8 and moment.hour < 10:
            sky = "fog"
        else:
            sky = "cloudy" if cloud > 0.5 else "clear"
        hours.append({"temperature": temperature, "rain": rain, "wind": wind, "sky": sky})
    return hours


def inside(periods, moment):
    return any(start <= moment < start + timedelta(hours=length) for start, length in periods)


def rows(rng):
    weather = make_weather(rng)
    mood = {station: 0.0 for station in STATIONS}
    for index, here in enumerate(weather):
        moment = START + timedelta(hours=index)
        for station in STATIONS:
            mood[station] = 0.93 * mood[station] + rng.gauss(0, 0.028)
            mean = expected(station, moment, here) * math.exp(mood[station])
            count = max(0, round(rng.gauss(mean, math.sqrt(mean + 0.4) * 1.15)))
            fault = rng.random()
            if inside(OUTAGES.get(station, []), moment) or fault < 0.002:
                continue
            if inside(STUCK.get(station, []), moment):
                count = 0
            elif fault < 0.0030:
                count = count * rng.randint(6, 11) + rng.randint(180, 420)  # counted twice and more
            elif fault < 0.0090:
                count = None
            no_weather = rng.random() < 0.004
            yield [
                moment.strftime("%Y-%m-%d %H:%M"),
                station,
                kind_of_day(moment.date()),
                here["sky"],
                "" if count is None else count,
                "" if no_weather else f"{here['temperature']:.1f}",
                f"{here['rain']:.1f}",
                f"{here['wind']:.1f}",
            ]


def main():
    default = Path(__file__).with_name("measurements.csv")
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    with open(target, "w", newline="", encoding="ascii") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["time", "station", "day", "sky", "rides", "temperature_c", "rain_mm", "wind_ms"]
        )
        writer.writerows(rows(random.Random(SEED)))


if __name__ == "__main__":
    main()
