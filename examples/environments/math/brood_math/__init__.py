"""The names of the environment `math`: plots, functions of numbers and expressions, constants."""

from brood_math.expressions import (
    Variable,
    acos,
    asin,
    atan,
    ceil,
    cos,
    cosh,
    exp,
    floor,
    ln,
    log,
    sin,
    sinh,
    sqrt,
    t,
    tan,
    tanh,
    x,
    y,
)
from brood_math.plots import parametric_plot, plot, points
from math import e, factorial, gcd, inf, pi

I = 1j

__all__ = [name for name in globals() if not name.startswith("_") and name not in ("expressions", "plots", "preparser")]
