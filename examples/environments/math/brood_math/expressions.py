"""Expressions in variables, such as sin(x)^2 + 1, and functions that take numbers, arrays and expressions."""

import cmath
import math
import operator

import numpy


class Expression:
    """Something that depends on at most one variable. Call it with a number to have its value there."""

    __array_priority__ = 1000  # an array leaves operators with an expression to it
    __array_ufunc__ = None

    def __init__(self, text, function, variables):
        self.text, self.function, self.variables = text, function, frozenset(variables)

    def __call__(self, value):
        if len(self.variables) > 1:
            raise TypeError(f"{self} depends on {' and '.join(sorted(self.variables))}; only one variable can vary")
        return self.function(value)

    def __repr__(self):
        return self.text

    def __neg__(self):
        return Expression(f"-{grouped(self)}", lambda value: -self.function(value), self.variables)

    def __pos__(self):
        return self

    def __abs__(self):
        return Expression(f"abs({self})", lambda value: abs(self.function(value)), self.variables)

    def __bool__(self):
        raise TypeError(f"{self} has no value as long as its variable has none; use a function: lambda x: ...")


class Variable(Expression):
    """A name in expressions: u = Variable("u"); plot(u^2, (u, 0, 3))"""

    def __init__(self, name):
        super().__init__(name, lambda value: value, [name])


def grouped(operand):
    return f"({operand})" if isinstance(operand, Expression) and " " in operand.text else str(operand)


def combined(left, right, symbol, function):
    if not all(isinstance(each, (Expression, int, float, complex, numpy.number)) for each in (left, right)):
        return NotImplemented
    first, second = (each.function if isinstance(each, Expression) else constant(each) for each in (left, right))
    variables = {name for each in (left, right) if isinstance(each, Expression) for name in each.variables}
    text = f"{grouped(left)} {symbol} {grouped(right)}" if symbol != "^" else f"{grouped(left)}^{grouped(right)}"
    return Expression(text, lambda value: function(first(value), second(value)), variables)


def constant(number):
    return lambda value: number


def add_operators():
    names = (("add", "+"), ("sub", "-"), ("mul", "*"), ("truediv", "/"), ("mod", "%"), ("pow", "^"))
    for name, symbol in names:
        function = getattr(operator, name)

        def forward(self, other, symbol=symbol, function=function):
            return combined(self, other, symbol, function)

        def backward(self, other, symbol=symbol, function=function):
            return combined(other, self, symbol, function)

        setattr(Expression, f"__{name}__", forward)
        setattr(Expression, f"__r{name}__", backward)


add_operators()


class Function:
    """A function of a real or complex number, of an array (each of its numbers), or of an expression."""

    def __init__(self, name, real, other, ufunc):
        self.__name__, self.real, self.other, self.ufunc = name, real, other, ufunc

    def __repr__(self):
        return self.__name__

    def __call__(self, value):
        if isinstance(value, Expression):
            return Expression(f"{self}({value})", lambda number: self(value.function(number)), value.variables)
        if isinstance(value, (list, tuple, numpy.ndarray)):
            return self.ufunc(numpy.asarray(value))
        if isinstance(value, (complex, numpy.complexfloating)):
            return self.complex(value)
        try:
            return self.real(value)
        except ValueError:  # outside of the real domain, such as the root of -1
            return self.complex(value)

    def complex(self, value):
        if self.other is None:
            raise TypeError(f"{self}({value}): {self} is a function of real numbers")
        return self.other(value)


def log(value, base=None):
    """The natural logarithm, or the one to a base."""
    return ln(value) if base is None else ln(value) / ln(base)


def named(name, ufunc=None):
    return Function(name, getattr(math, name), getattr(cmath, name, None), getattr(numpy, ufunc or name))


sin, cos, tan, sinh, cosh, tanh, exp, sqrt, floor, ceil = map(
    named, ("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "sqrt", "floor", "ceil")
)
asin, acos, atan = named("asin", "arcsin"), named("acos", "arccos"), named("atan", "arctan")
ln = Function("ln", math.log, cmath.log, numpy.log)
x, y, t = Variable("x"), Variable("y"), Variable("t")
