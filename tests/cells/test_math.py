"""The example environment `math`: its preparser, its expressions, its plots."""
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "environments" / "math"
sys.path.insert(0, str(FOLDER))

pytest.importorskip("numpy")
matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")

import numpy  # noqa: E402
from brood_math import Variable, cos, e, exp, floor, log, parametric_plot, pi, plot, points, sin, sqrt, t, tan, x, y  # noqa: E402
from brood_math.preparser import prepare  # noqa: E402
from matplotlib import pyplot  # noqa: E402


# --- the preparser -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source, expected",
    [
        ("x^2", "x**2"),
        ("x ^ 2", "x ** 2"),
        ("x^^2", "x^2"),
        ("x ^= 2; y ^^= 3", "x **= 2; y ^= 3"),
        ("a^b^c", "a**b**c"),
        ("a^^b^^c^d", "a^b^c**d"),
        ("lambda x: x^2, (-1, 1)", "lambda x: x**2, (-1, 1)"),
        ("'x^2' + \"^\" # x^2", "'x^2' + \"^\" # x^2"),
        ("'''a^b\n^''' + x^2\ny^3", "'''a^b\n^''' + x**2\ny**3"),
        ("b'^', r'\\^', x^2", "b'^', r'\\^', x**2"),
        ("'\U0001f40d\u00e9' + x^2", "'\U0001f40d\u00e9' + x**2"),
        ("\u00e9^2", "\u00e9**2"),
        ("x = (1 +\n  y^2)\nz^2", "x = (1 +\n  y**2)\nz**2"),
        ("x^2\\\n^3", "x**2\\\n**3"),
        ("if x:\n\ty^2\n", "if x:\n\ty**2\n"),
        ("x^2\r\ny^3", "x**2\r\ny**3"),
        ("no caret", "no caret"),
        ("", ""),
    ],
)
def test_carets(source, expected):
    assert prepare(source) == expected


@pytest.mark.parametrize(
    "source, value",
    [
        ("f'{2^3}'", "8"),
        ("f'^{2^3}^'", "^8^"),
        ("f'{{2^3}}'", "{2^3}"),
        ("f'{2^3:^5}'", "  8  "),
        ("f'{2^3:^{2^3}}'", "   8    "),
        ("f'{5^^3}'", "6"),
        ("f'{2^3!r:>3}'", "  8"),
        ("f'{1 if 2^1 != 3 else 0}'", "1"),
        ("f'''{2^3}\n{2^\n4}'''", "8\n16"),
        ("f\"{'^' + str(2^2)}\"", "^4"),
        ("f'{dict(a=2^2)[\"a\"]}'", "4"),
        ("rf'\\^{2^2}'", "\\^4"),
        ("f'{2^2}' '{2^2}'", "4{2^2}"),
        ("f'{2^2}' f'{3^2}', 2^5", ("49", 32)),
    ],
)
def test_carets_in_fstrings(source, value):
    assert eval(prepare(source)) == value


@pytest.mark.parametrize("source", ["x^", "(x^2", "'open ^ 2", "x^2\n  y^3", "f'{x^", "'''x^2", "x ^ ^ 2", "$^2", "x^^^2", "a\0^b"])
def test_what_is_no_python_stays_none(source):
    with pytest.raises((SyntaxError, ValueError)):
        compile(prepare(source), "<test>", "exec")
    assert prepare(source).count("\n") == source.count("\n")


def test_a_syntax_error_keeps_its_line():
    with pytest.raises(SyntaxError) as caught:
        compile(prepare("a = 2^3\nb = a^2\nc = = 3\n"), "<test>", "exec")
    assert caught.value.lineno == 3


# --- expressions ---------------------------------------------------------------------------------


def test_expressions():
    f = sin(x) ** 2 + 1 / (2 - x) - -x % 3
    assert repr(sin(x) ** 2 + 1) == "sin(x)^2 + 1"
    assert repr((x + 1) ** 2) == "(x + 1)^2" and repr(abs(exp(x))) == "abs(exp(x))"
    assert f(1.0) == pytest.approx(sin(1.0) ** 2 + 1 - (-1.0) % 3)
    assert (numpy.float64(2) * x)(3) == (x * numpy.float64(2))(3) == 6
    with pytest.raises(TypeError, match="depends on x and y"):
        (x + y)(1)
    with pytest.raises(TypeError, match="no value"):
        bool(x)
    with pytest.raises(TypeError):
        x + "text"


def test_functions():
    assert sqrt(2) == 2**0.5 and type(sqrt(2)) is float
    assert sqrt(-1) == 1j and exp(1j * pi) == pytest.approx(-1) and log(8, 2) == pytest.approx(3) and log(e) == 1
    assert numpy.allclose(sin([0, pi / 2]), [0, 1])
    with pytest.raises(TypeError, match="real"):
        floor(1j)


# --- plots ---------------------------------------------------------------------------------------


@pytest.fixture
def curves():
    """Calls a plotting function; the (xs, ys) of its lines."""
    pyplot.close("all")

    def curves(function, *arguments, **options):
        assert function(*arguments, **options) is None
        return [line.get_data() for line in pyplot.gca().lines]

    yield curves
    pyplot.close("all")


def test_the_parabola(curves):
    ((xs, ys),) = curves(plot, lambda x: x**2, (-1, 1))
    assert xs[0] == -1 and xs[-1] == 1 and len(xs) >= 400
    assert (numpy.diff(xs) > 0).all() and numpy.abs(ys - xs**2).max() < 1e-15
    axes = pyplot.gca()
    assert axes.spines["left"].get_position() == ("data", 0) and axes.spines["bottom"].get_position() == ("data", 0)
    assert axes.xaxis.get_gridlines()[0].get_visible() and not axes.spines["top"].get_visible()
    assert axes.get_xlim() == (-1, 1) and axes.get_legend() is None


def test_axes_stay_in_view_where_the_origin_is_not(curves):
    curves(plot, x**2 + 5, (x, 2, 3))
    left, bottom = (pyplot.gca().spines[side].get_position()[1] for side in ("left", "bottom"))
    assert left == 2 and bottom == pyplot.gca().get_ylim()[0] > 5


@pytest.mark.parametrize(
    "arguments",
    [(sin, (-1, 2)), (sin(x), (x, -1, 2)), (sin(x), ("x", -1, 2)), (sin, -1, 2), ([sin], (-1, 2)), (lambda u: sin(u), [-1, 2])],
)
def test_ways_to_say_it(curves, arguments):
    ((xs, ys),) = curves(plot, *arguments)
    assert (xs[0], xs[-1]) == (-1, 2) and numpy.allclose(ys, numpy.sin(xs))


def test_several_functions_have_a_legend(curves):
    first, second, third = curves(plot, sin, [cos, x / 2], (0, 1))
    assert numpy.allclose(second[1], numpy.cos(second[0])) and numpy.allclose(third[1], third[0] / 2)
    assert [text.get_text() for text in pyplot.gca().get_legend().get_texts()] == ["sin", "cos", "x / 2"]


def test_a_number_is_a_function(curves):
    ((_, ys),) = curves(plot, 3, (0, 1))
    assert (ys == 3).all()


def test_what_is_not_real_or_finite_is_left_out(curves):
    ((xs, ys),) = curves(plot, sqrt)
    assert numpy.isnan(ys[xs < 0]).all() and numpy.allclose(ys[xs >= 0], numpy.sqrt(xs[xs >= 0]))
    pyplot.close("all")
    ((xs, ys),) = curves(plot, lambda x: float("inf") if x > 0 else 1 / 0 if x > -0.5 else x, (-1, 1))
    assert numpy.isnan(ys[xs > -0.5]).all() and not numpy.isnan(ys[xs < -0.5]).any()


@pytest.mark.parametrize("function, places", [(lambda x: 1 / x, [0]), (tan, [-pi / 2, pi / 2]), (floor, [-2, -1, 0, 1, 2])])
def test_poles_and_jumps_are_not_connected(curves, function, places):
    ((xs, ys),) = curves(plot, function, (-2.01, 2.02))
    gaps = numpy.flatnonzero(numpy.isnan(ys))
    assert len(gaps) == len(places)
    for gap, place in zip(gaps, places):
        assert xs[gap - 1] <= place <= xs[gap + 1] and xs[gap + 1] - xs[gap - 1] < 0.03


def test_steep_places_are_connected(curves):
    ((_, ys),) = curves(plot, lambda x: numpy.tanh(1000 * x), (-1.01, 1.02))
    assert not numpy.isnan(ys).any()


def test_poles_do_not_flatten_the_rest(curves):
    curves(plot, tan, x**2, (-5, 5))
    low, high = pyplot.gca().get_ylim()
    assert -100 < low < -1 and 1 < high < 100
    pyplot.close("all")
    curves(plot, 1 / x**2)
    assert 0.1 < pyplot.gca().get_ylim()[1] < 100
    pyplot.close("all")
    curves(plot, exp(-1000 * x**2), (-10, 10))
    assert 1 < pyplot.gca().get_ylim()[1] < 1.2  # a peak is no pole
    pyplot.close("all")
    curves(plot, tan, (-5, 5), ylim=(-4, 4))
    assert pyplot.gca().get_ylim() == (-4, 4)


@pytest.mark.parametrize(
    "arguments, error, text",
    [
        ((lambda x: sqrt(-1 - x**2), (-1, 1)), ValueError, "no real, finite value anywhere from -1 to 1; at 0 it is 1j"),
        ((lambda x: 1 / 0, (-1, 1)), ValueError, "at 0 it raises ZeroDivisionError"),
        ((lambda x: nowhere, (-1, 1)), NameError, "nowhere"),  # noqa: F821
        ((lambda: 1, (-1, 1)), TypeError, "argument"),
        (((-1, 1),), TypeError, "a function is missing"),
        ((sin, (1, -1)), ValueError, "from a number to a greater one"),
        ((sin, (0, float("inf"))), ValueError, "from a number to a greater one"),
        (("sin", (0, 1)), TypeError, "an example: plot"),
        ((x + y, (0, 1)), ValueError, "more than one variable"),
        ((sin(x), (y, 0, 1)), ValueError, "the range is one of y"),
    ],
)
def test_helpful_errors(curves, arguments, error, text):
    with pytest.raises(error, match=text):
        plot(*arguments)
    assert not pyplot.get_fignums()


def test_parametric_plot(curves):
    ((xs, ys),) = curves(parametric_plot, (cos, sin))
    assert numpy.allclose(xs**2 + ys**2, 1) and numpy.allclose((xs[0], ys[0]), (xs[-1], ys[-1]))
    pyplot.close("all")
    u = Variable("u")
    ((xs, ys),) = curves(parametric_plot, (u, u**2), (u, 0, 3))
    assert numpy.allclose(xs**2, ys) and xs[-1] == 3
    pyplot.close("all")
    ((xs, ys),) = curves(parametric_plot, (t, 2), (t, 0, 1))
    assert (ys == 2).all()
    with pytest.raises(TypeError, match="a pair"):
        parametric_plot(sin)


def test_points():
    for arguments in ([[(1, 2), (3, 5)]], [[1, 3], [2, 5]], [numpy.array([[1, 2], [3, 5]])]):
        points(*arguments)
        assert pyplot.gca().collections[0].get_offsets().tolist() == [[1, 2], [3, 5]]
        pyplot.close("all")
    for wrong in ([[1, 2, 3]], [[1], [2, 3]], []):
        with pytest.raises((ValueError, TypeError), match="points"):
            points(*wrong)


# --- in a session --------------------------------------------------------------------------------


def test_a_user_who_types_this_and_nothing_else_sees_a_parabola(run):
    session = run({"python": f"exec(open({str(FOLDER / 'init.py')!r}).read(), stub.main)"},
                  "plot(lambda x: x^2, (-1, 1))", "2^10", "f = sin(x)^2 + 1\nf", "1/0^2", "x = = 2^3",
                  setup={"preparser": "brood_math.preparser:prepare"}, environment={"PYTHONPATH": str(FOLDER)})
    assert not session.begin.events
    (picture,) = session[1].events
    assert picture["type"] == "display" and len(picture["data"]["image/png"]) > 5000
    assert session[1].status == "ok" and session[2].text == "1024" and session[3].text == "sin(x)^2 + 1"
    assert session[4].error["name"] == "ZeroDivisionError" and session[5].error["name"] == "SyntaxError"
