"""Several pages on one session, and connections that break."""


# The server can be reached again, and the user does not wait for the next attempt. In one step: the
# page's own attempt might come in between.
TRY_NOW = """
  const button = document.querySelector("#link button");
  if (button) {
    window.offline = false;
    button.click();
  }
  return button !== null;
"""


def cells_of(page):
    return [(e.get_attribute("data-status"), e.text) for e in page.all(".cell")]


def test_two_pages_see_the_same(page):
    page.run("print('from the first')")
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    page.driver.get(f"{page.server.url}/#{page.session}")
    page.wait_ready()
    page.wait_text("#cells", "from the first")
    page.run("print('from the second')")
    seen = cells_of(page)
    page.driver.close()
    page.driver.switch_to.window(first)
    page.wait_text("#cells", "from the second")
    page.wait(lambda: cells_of(page) == seen, "the same cells on both pages")


def test_a_page_that_comes_later_gets_everything(page):
    page.run("1 + 1")
    page.run("undone = True")
    page.click("Undo")
    page.wait(lambda: page.all(".cell.undone"), "the cell to be undone")
    page.run("1 / 0", status="error")
    before = cells_of(page)
    page.driver.refresh()
    page.wait_ready()
    page.wait(lambda: cells_of(page) == before, "the same page after it was loaded again")


def test_a_broken_connection_comes_back_without_repetitions(page):
    page.run("print('before')")
    assert len(page.addresses()) == 1
    page.break_connection()
    page.wait(lambda: len(page.addresses()) == 2, "a second connection")
    assert "after=" in page.addresses()[1]
    page.wait_ready()
    page.wait(lambda: not page.visible("#link"), "the connection to be live")
    page.run("print('after')")
    assert len(page.all(".cell")) == 2
    assert page.text("#cells").count("print('before')") == 1


def test_what_happened_while_away_is_caught_up(page):
    page.run("1")
    page.break_connection(stay_offline=True)
    page.wait_text("#link", "connection is lost")
    page.wait_text("#link", "Trying again in")
    result = page.server.ask("POST", f"/v1/sessions/{page.session}/execute", {"code": "print('meanwhile')"})
    assert result["status"] == "ok"
    assert "meanwhile" not in page.text("#cells")
    page.wait(lambda: page.js(TRY_NOW), "the button to try now")
    page.wait_text("#cells", "meanwhile")
    assert len(page.all(".cell")) == 2


def test_a_running_cell_is_still_running_after_a_reconnect(page):
    cell = page.begin("print('asks')\nanswer = input('more? ')\nprint('got', answer)")
    page.one(".stdin input")
    page.break_connection()
    page.wait(lambda: len(page.addresses()) == 2, "a second connection")
    page.wait(lambda: not page.visible("#link"), "the connection to be live")
    field = page.one(".stdin input")
    field.send_keys("yes\n")
    page.wait_status(cell, "ok")
    assert page.output(cell).count("got yes") == 1
    assert len(page.all(".cell")) == 1


def test_a_session_that_was_removed_is_left(page):
    page.server.ask("DELETE", f"/v1/sessions/{page.session}")
    page.wait(lambda: not page.visible("#input-cell"), "the input to go")
