"""Sessions with few descriptors: their limit of open files is low, or used up."""

import pytest
from session_fixture import package, run, serving, stream_of, until, value
from waiting import wait_until

LOWER = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({}, {}))"
LIMIT = "__import__('resource').getrlimit(7)"  # RLIMIT_NOFILE


@pytest.fixture(scope="module")
def server(shared_brood):
    with serving(shared_brood, "[serve.limits]\nopen_files = 256\n") as made:
        yield made


@pytest.fixture
def session(server):
    with server.client.new() as made:
        run(made, "kept = 1")
        yield made


def checkpoint_of(session, code):
    """Its head, of a cell that ends well."""
    with stream_of(session) as events:
        run(session, code)
        return until(events, "checkpoint")[-1].head


@pytest.mark.core
def test_the_least_limit(session):
    assert value(session, LIMIT) == "(256, 256)"
    run(session, "kept = 2")
    session.undo()
    assert value(session, f"kept, {LIMIT}") == "(1, (256, 256))"
    with session.fork() as branch:
        assert value(branch, f"kept, {LIMIT}") == "(1, (256, 256))"


@pytest.mark.core
def test_less_is_refused(server):
    with pytest.raises(package.Error, match="256"):
        server.client.new(limits={"open_files": 255})


@pytest.mark.core
def test_a_cell_lowers_its_own_limit(session):
    run(session, LOWER.format(64, 256))
    run(session, "kept = 2")
    for _ in range(2):
        run(session, "kept = 3")
        session.undo()
        assert value(session, f"kept, {LIMIT}") == "(2, (64, 256))"
    with session.fork() as branch:
        run(branch, "kept = 4")
        branch.undo()
        assert value(branch, f"kept, {LIMIT}") == "(2, (64, 256))"
    assert session.run("files = [open('/dev/null') for _ in range(64)]").error.name == "OSError"


def test_a_cell_lowers_the_hard_limit(session):
    """Then nobody can go back to what comes after it, which is said; but to what was before."""
    assert "error" not in checkpoint_of(session, LOWER.format(64, 64))
    told = checkpoint_of(session, "kept = 2")
    assert "RLIMIT_NOFILE" in told["error"] and "64" in told["error"]
    assert value(session, "kept") == "2"
    session.undo()
    assert value(session, f"kept, {LIMIT}") == "(1, (256, 256))"


def test_all_descriptors_are_used(session):
    run(session, "files = []\ntry:\n    while True: files.append(open('/dev/null'))\nexcept OSError: pass")
    told = checkpoint_of(session, "kept = 2")
    assert "more files" in told["error"]
    run(session, "del files[-20:]")
    assert "error" not in checkpoint_of(session, "kept = 3")
    session.undo()
    assert value(session, "kept") == "2"
    wait_until(lambda: session.info()["state"] == "idle", "an idle session")


def test_all_descriptors_below_the_soft_limit_are_used(session):
    run(session, LOWER.format(32, 256))
    run(session, "files = []\ntry:\n    while True: files.append(open('/dev/null'))\nexcept OSError: pass")
    assert "error" not in checkpoint_of(session, "kept = 2")
    session.undo()
    assert value(session, f"kept, {LIMIT}, len(files) > 10") == "(1, (32, 256), True)"


def test_no_memory_for_a_checkpoint(server):
    """Nothing but the stack of the fork's helper is missing: the cell says so and goes on."""
    with server.client.new(limits={"cell_time": 600}) as session:  # not one that was started before
        lower = "import resource\nresource.setrlimit(resource.RLIMIT_DATA, (1, resource.RLIM_INFINITY))"
        run(session, lower, checkpoint=False)
        told = checkpoint_of(session, "kept = 1")
        assert "memory for the stack" in told["error"]
        run(session, "resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))")
        assert "error" not in checkpoint_of(session, "kept = 2")
        session.undo()
        assert value(session, "kept") == "1"
