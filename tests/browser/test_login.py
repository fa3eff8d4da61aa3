"""Who is let in, and what the browser is told about the page."""

import urllib.request

import pytest
from brood_server import TOKEN
from selenium.webdriver.common.keys import Keys


def test_a_token_opens_the_page(stranger, server):
    stranger.driver.get(server.url)
    stranger.one("#login-form input[name=token]").send_keys("wrong", Keys.ENTER)
    stranger.wait(lambda: stranger.text("#login-error") != "", "an error")
    assert not stranger.visible("#app")
    field = stranger.one("#login-form input[name=token]")
    field.clear()
    field.send_keys(TOKEN, Keys.ENTER)
    stranger.one("#app")
    assert not stranger.visible("#login")


def test_the_printed_address_leaves_no_token_behind(stranger, server):
    stranger.log_in()
    assert TOKEN not in stranger.driver.current_url
    assert stranger.js("return document.cookie") == ""


def test_logging_out_asks_again(stranger, server):
    stranger.log_in()
    stranger.click("Log out")
    stranger.one("#login-form")
    stranger.driver.get(server.url + "/")
    stranger.one("#login-form")


def test_a_login_that_has_ended_asks_again(stranger, server):
    stranger.log_in()
    stranger.one("#app")
    stranger.driver.delete_all_cookies()
    stranger.click("New session")
    stranger.one("#login-form")


@pytest.mark.parametrize(
    "path, has, lacks",
    [
        ("/", ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"], ["unsafe-eval"]),
        ("/frame.html", ["sandbox allow-scripts", "default-src 'none'"], ["allow-same-origin", "connect-src"]),
    ],
)
def test_the_policies_are_sent(server, path, has, lacks):
    with urllib.request.urlopen(server.url + path, timeout=30) as response:
        policy = response.headers["Content-Security-Policy"]
    assert [part for part in has if part not in policy] == []
    assert [part for part in lacks if part in policy] == []
