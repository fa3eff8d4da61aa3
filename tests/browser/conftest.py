import pytest
from brood_server import Server
from page import Browser, Page


@pytest.fixture(scope="session")
def server():
    made = Server()
    yield made
    made.close()


@pytest.fixture(scope="session")
def browser():
    made = Browser()
    yield made
    made.close()


@pytest.fixture
def stranger(browser, server):
    """A page that has not logged in."""
    browser.forget()
    return Page(browser.driver, server)


@pytest.fixture
def page(stranger, server):
    """A page that is logged in and has joined a new session."""
    session = server.new_session()
    stranger.session = session
    stranger.log_in(session)
    stranger.wait_ready()
    yield stranger
    try:
        server.ask("DELETE", f"/v1/sessions/{session}")
    except OSError:
        pass  # the test has removed it, or it has ended
