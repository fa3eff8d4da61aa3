"""Graphs of functions. A figure appears by itself when the cell has ended."""

import math
import numbers

import numpy
from matplotlib import pyplot
from matplotlib.ticker import ScalarFormatter

from brood_math.expressions import Expression

kPoints = 401  # of a graph before it is refined
kMostPoints = 4000
kRounds = 5  # of refining
kBisections = 40  # to tell a steep place from a jump
DEFAULT_RANGE = (-10.0, 10.0)


def plot(*what, color=None, label=None, title=None, ylim=None):
    """Draw the graphs of one or more functions.

    plot(lambda x: x^2, (-1, 1))        a function and the range of its argument
    plot(sin, cos, (-pi, pi))           several; a list of them does as well
    plot(x^2 - 1, (x, -2, 2))           an expression in a variable
    plot(sqrt)                          from -10 to 10

    Where a function has no real, finite value it is left out; its graph is not connected across a pole or a jump.
    ylim=(low, high) says what is to be seen of it.
    """
    functions, (start, end) = understood(what, "plot(lambda x: x^2, (-1, 1))")
    evenly = numpy.linspace(start, end, kPoints)
    heights = [evaluated(function, evenly) for function in functions]
    graphs = [graph(function, evenly, ys) for function, ys in zip(functions, heights)]
    axes = new_axes(title)
    for function, (xs, ys) in zip(functions, graphs):
        axes.plot(xs, ys, color=color, label=label or name_of(function))
    axes.set_xlim(start, end)
    axes.set_ylim(ylim or limits_without_poles(numpy.concatenate(heights), numpy.concatenate([ys for _, ys in graphs])))
    finish(axes, label is not None or len(functions) > 1)


def parametric_plot(pair, range=(0, 2 * math.pi), color=None, label=None, title=None):
    """Draw the curve of a pair of functions: parametric_plot((cos, sin), (0, 2*pi)), or of expressions:
    parametric_plot((cos(t), sin(2*t)), (t, 0, 2*pi))."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError("parametric_plot() takes a pair of functions: parametric_plot((cos, sin), (0, 2*pi))")
    functions, (start, end) = understood([*pair, range], "parametric_plot((cos, sin), (0, 2*pi))")
    values = numpy.linspace(start, end, kMostPoints // 2 + 1)
    xs, ys = (evaluated(function, values) for function in functions)
    axes = new_axes(title)
    axes.plot(numpy.where(numpy.isnan(ys), math.nan, xs), ys, color=color, label=label)
    axes.set_aspect("equal", adjustable="datalim")
    finish(axes, label is not None)


def points(*coordinates, color=None, label=None, title=None, size=25):
    """Draw points: points([(1, 2), (3, 5)]), or from two lists: points([1, 3], [2, 5])."""
    if len(coordinates) == 2:
        xs, ys = (numpy.asarray(list(each), dtype=float) for each in coordinates)
    elif len(coordinates) == 1:
        table = numpy.asarray(list(coordinates[0]), dtype=float)
        if table.ndim != 2 or table.shape[1] != 2:
            raise ValueError("points() takes a list of pairs: points([(1, 2), (3, 5)])")
        xs, ys = table.T
    else:
        raise TypeError("points() takes a list of pairs, or a list of x and a list of y")
    if len(xs) != len(ys):
        raise ValueError(f"points() has {len(xs)} values of x and {len(ys)} of y; it needs as many of each")
    axes = new_axes(title)
    axes.scatter(xs, ys, s=size, color=color, label=label, zorder=3)
    finish(axes, label is not None)


# --- arguments -----------------------------------------------------------------------------------


def understood(what, example):
    """(functions, (start, end)) of the arguments of plot()."""
    what, functions, limits, variable = list(what), [], DEFAULT_RANGE, None
    if len(what) >= 3 and is_number(what[-1]) and is_number(what[-2]):
        limits = (what.pop(-2), what.pop())
    elif what and is_range(what[-1]):
        *name, start, end = what.pop()
        limits, variable = (start, end), str(name[0]) if name else None
    for each in what:
        functions.extend(each if isinstance(each, (list, tuple)) else [each])
    if not functions:
        raise TypeError(f"a function is missing; an example: {example}")
    functions = [as_function(each, variable, example) for each in functions]
    start, end = map(float, limits)
    if not (math.isfinite(start) and math.isfinite(end) and start < end):
        raise ValueError(f"the range must go from a number to a greater one, not from {limits[0]} to {limits[1]}")
    return functions, (start, end)


def is_number(value):
    return isinstance(value, numbers.Real)


def is_range(value):
    if not isinstance(value, (tuple, list)) or not 2 <= len(value) <= 3 or not all(map(is_number, value[-2:])):
        return False
    return len(value) == 2 or isinstance(value[0], (str, Expression))


def as_function(what, variable, example):
    if isinstance(what, Expression):
        if variable is not None and what.variables - {variable}:
            raise ValueError(f"{what} depends on {', '.join(sorted(what.variables))}, the range is one of {variable}")
        if len(what.variables) > 1:
            raise ValueError(f"{what} depends on more than one variable: {', '.join(sorted(what.variables))}")
        return what
    if callable(what):
        return what
    if is_number(what):
        return Expression(str(what), lambda value: what, ())
    raise TypeError(f"{what!r} is no function that can be drawn; an example: {example}")


def name_of(function):
    name = getattr(function, "__name__", None) or str(function)
    return "function" if name == "<lambda>" else name


# --- values --------------------------------------------------------------------------------------


def value_at(function, value):
    """The function's real, finite value; otherwise not a number."""
    try:
        result = function(float(value))
        if isinstance(result, (complex, numpy.complexfloating)):
            if abs(result.imag) > 1e-12 * max(1.0, abs(result.real)):
                return math.nan
            result = result.real
        result = float(result)
    except (ArithmeticError, ValueError):
        return math.nan
    return result if math.isfinite(result) else math.nan


def evaluated(function, values):
    """Its values; ValueError where there is none at all."""
    with numpy.errstate(all="ignore"):
        results = numpy.array([value_at(function, value) for value in values])
    if numpy.isnan(results).all():
        middle = float(values[len(values) // 2])
        raise ValueError(
            f"{name_of(function)} cannot be drawn: it has no real, finite value anywhere from {values[0]:g} "
            f"to {values[-1]:g}; {reason_at(function, middle)}"
        )
    return results


def reason_at(function, value):
    try:
        return f"at {value:g} it is {function(value)}"
    except Exception as error:
        return f"at {value:g} it raises {type(error).__name__}: {error}"


def graph(function, xs, ys):
    """(xs, ys) of the graph, with more points than given where it bends, and with a gap at poles and jumps."""
    height = typical_height(ys)
    for _ in range(kRounds):
        middles = places_to_refine(xs, ys, height)
        if not len(middles) or len(xs) + len(middles) > kMostPoints:
            break
        with numpy.errstate(all="ignore"):
            heights = numpy.array([value_at(function, middle) for middle in middles])
        order = numpy.argsort(numpy.concatenate([xs, middles]), kind="stable")
        xs, ys = (numpy.concatenate(pair)[order] for pair in ((xs, middles), (ys, heights)))
    return with_gaps(function, xs, ys, height)


def places_to_refine(xs, ys, height):
    """The middles of the intervals beside which the graph bends, or ends."""
    left, right = numpy.diff(ys)[:-1], numpy.diff(ys)[1:]
    widths = numpy.diff(xs)
    with numpy.errstate(all="ignore"):
        bend = numpy.abs(right / widths[1:] - left / widths[:-1]) * numpy.minimum(widths[1:], widths[:-1])
    missing = numpy.isnan(ys)
    bends = numpy.zeros(len(xs), dtype=bool)
    bends[1:-1] = bend > 0.002 * height
    edges = missing[1:] != missing[:-1]
    chosen = bends[1:] | bends[:-1] | edges
    return (xs[1:] + xs[:-1])[chosen] / 2


def typical_height(ys):
    low, high = numpy.nanpercentile(ys, [5, 95])
    return max(high - low, 1e-12 * max(abs(low), abs(high), 1e-300))


def with_gaps(function, xs, ys, height):
    steep = numpy.flatnonzero(numpy.abs(numpy.diff(ys)) > 0.1 * height)
    with numpy.errstate(all="ignore"):
        broken = [place + 1 for place in steep if jumps(function, xs[place], xs[place + 1], ys[place], ys[place + 1])]
    return numpy.insert(xs, broken, math.nan), numpy.insert(ys, broken, math.nan)


def jumps(function, left, right, low, high):
    """Whether the function does not come nearer to itself in ever smaller intervals between the two."""
    before = abs(high - low)
    for _ in range(kBisections):
        middle = (left + right) / 2
        value = value_at(function, middle)
        if math.isnan(value):
            return True
        if not left < middle < right:
            break
        if abs(value - low) > abs(high - value):
            right, high = middle, value
        else:
            left, low = middle, value
    return abs(high - low) > 0.5 * before


# --- the figure ----------------------------------------------------------------------------------


def new_axes(title):
    axes = pyplot.figure().add_subplot()
    if title:
        axes.set_title(title)
    return axes


def limits_without_poles(evenly, drawn):
    """The limits of y, or None to see everything. Poles must not flatten the rest: where the graph has gaps, or grows
    as one looks closer, it is cut at some distance from where most of it is. `evenly` are its values at evenly
    spaced places."""
    low, high = numpy.nanpercentile(evenly, [5, 95])
    span = typical_height(evenly)
    grows = numpy.nanmax(numpy.abs(drawn)) > 2 * numpy.nanmax(numpy.abs(evenly))
    if (grows or numpy.isnan(drawn).any()) and numpy.nanmax(drawn) - numpy.nanmin(drawn) > 20 * span:
        return low - 1.5 * span, high + 1.5 * span
    return None


class WithoutZero(ScalarFormatter):
    """The axes cross there: a number would be struck through."""

    def __call__(self, value, place=None):
        return "" if value == 0 else super().__call__(value, place)


def finish(axes, legend):
    """Axes through the origin, or at the edge where that is not to be seen; a grid."""
    axes.grid(True, alpha=0.35)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side, (low, high) in (("left", axes.get_xlim()), ("bottom", axes.get_ylim())):
        axes.spines[side].set_position(("data", min(max(0.0, low), high)))
    for axis, (low, high) in ((axes.yaxis, axes.get_xlim()), (axes.xaxis, axes.get_ylim())):
        if low < 0 < high:
            axis.set_major_formatter(WithoutZero())
    if legend:
        axes.legend()
