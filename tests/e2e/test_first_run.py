"""The shortest way through everything."""

import pytest
from brood_fixture import TRACE

pytestmark = pytest.mark.core


def test_first_run_is_cold_and_the_next_is_warm(brood):
    arguments = ["-c", "import sys; print(sys.argv); sys.exit(3)", "a", "b c"]
    first = brood.run(arguments, env=TRACE)
    assert (first.status, first.out) == (3, b"['-c', 'a', 'b c']\n")
    assert b"brood: cold: no zygote has this environment yet" in first.err
    second = brood.warm_drop_in(arguments)
    assert (second.status, second.out, second.err) == (3, b"['-c', 'a', 'b c']\n", b"")
