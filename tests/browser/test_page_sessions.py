"""State: interrupting, going back, branching, and sessions as things."""

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys


def test_a_session_is_started_renamed_and_removed(stranger, server):
    stranger.log_in()
    stranger.one("#new-session").click()
    stranger.one("dialog input[type=radio]:checked")
    stranger.one("dialog input[name=name]").send_keys("first steps", Keys.ENTER)
    stranger.wait_text("#name", "first steps")
    stranger.wait_ready()
    assert stranger.output(stranger.run("1 + 1")).split()[-1] == "2"

    stranger.click("Rename session")
    field = stranger.one("dialog input")
    field.clear()
    field.send_keys("second steps", Keys.ENTER)
    stranger.wait_text("#name", "second steps")
    stranger.wait_text("#session-list", "second steps")

    stranger.click("Remove session")
    stranger.click("Remove")
    stranger.wait(lambda: "second steps" not in stranger.text("#session-list"), "the session to go")
    assert not stranger.visible("#input-cell")


def test_back_to_where_no_session_was(page):
    page.driver.get(page.server.url + "/")
    page.join(page.session)
    page.driver.back()
    page.wait(lambda: not page.visible("#input-cell"), "no session")
    page.driver.forward()
    page.wait_ready()
    assert page.driver.current_url.endswith(f"#{page.session}")


def test_a_link_that_was_cut_off_leads_to_the_start(stranger, server):
    stranger.log_in("%zz")
    stranger.wait(lambda: stranger.visible("#app") and not stranger.visible("#input-cell"), "the start")
    assert not [problem for problem in stranger.problems() if "URIError" in problem]


def test_an_interrupt_with_ctrl_c(page):
    page.run("kept = 5")
    cell = page.begin("print('on')\nwhile True: pass")
    page.wait(lambda: "on" in page.output(cell), "the cell to run")
    page.press("c", held=[Keys.CONTROL])
    page.wait_status(cell, "interrupted")
    assert page.output(page.run("kept")).split()[-1] == "5"


def test_an_interrupt_with_the_button(page):
    cell = page.begin("print('on')\nwhile True: pass")
    page.wait(lambda: "on" in page.output(cell), "the cell to run")
    page.click("Interrupt")
    page.wait_status(cell, "interrupted")
    page.wait(lambda: not page.visible("#busy"), "the busy sign to go")


def test_undo_brings_the_state_back_and_greys_the_cell(page):
    page.run("x = 1")
    cell = page.run("x = 2")
    page.click("Undo")
    page.wait(lambda: "undone" in page.cell(cell).get_attribute("class").split(), "the cell to be undone")
    assert "ndone" in page.cell(cell).find_element(By.CSS_SELECTOR, ".foot").text
    assert "undone" not in page.cell(0).get_attribute("class").split()
    assert page.output(page.run("x")).split()[-1] == "1"


def go_on_typing(page, code):
    """Without a click into the editor before, as page.run() does."""
    page.wait(lambda: page.js("return document.activeElement.closest('#editor') !== null"), "the editor to have the focus")
    before = len(page.all(".cell"))
    page.driver.execute_cdp_cmd("Input.insertText", {"text": code})
    page.wait(lambda: page.code() == code, "the editor to have the code")
    page.press(Keys.ENTER, held=[Keys.SHIFT])
    page.wait(lambda: len(page.all(".cell")) == before + 1, f"one new cell, of {code!r}")
    page.wait_status(before, "ok")
    return page.output(before).split()[-1]


def test_after_a_button_one_goes_on_typing(page):
    """Else Shift-Enter would press it again."""
    for n in range(1, 5):
        page.run(f"x = {n}")
    page.click("Undo")
    page.wait(lambda: len(page.all(".cell.undone")) == 1, "one cell to be undone")
    assert go_on_typing(page, "x") == "3"
    page.click("Go back to before cell 3")
    page.wait(lambda: len(page.all("[data-checkpoint]")) == 2, "the later checkpoints to go")
    assert go_on_typing(page, "x") == "2"
    assert len(page.all(".cell.undone")) == 3
    cell = page.begin("print('on')\nwhile True: pass")
    page.wait(lambda: "on" in page.output(cell), "the cell to run")
    page.click("Interrupt")
    page.wait_status(cell, "interrupted")
    page.wait(lambda: not page.visible("#busy"), "the session to be idle")
    assert go_on_typing(page, "x + 10") == "12"


def test_in_a_new_branch_one_goes_on_typing(page):
    page.run("x = 1")
    page.click("Branch from the live session")
    page.wait(lambda: not page.driver.current_url.endswith(page.session), "the new session")
    branch = page.driver.current_url.rpartition("#")[2]
    page.wait_ready()
    assert go_on_typing(page, "x") == "1"
    page.server.ask("DELETE", f"/v1/sessions/{branch}")


def test_ctrl_z_undoes_outside_of_the_editor_only(page):
    page.run("x = 1")
    cell = page.run("x = 2")
    page.write("text")
    page.press("z", held=[Keys.CONTROL])  # the editor's own undo
    page.wait(lambda: page.code() != "text", "the editor to undo")
    assert "undone" not in page.cell(cell).get_attribute("class").split()
    page.js("document.activeElement.blur()")
    page.press("z", held=[Keys.CONTROL])
    page.wait(lambda: "undone" in page.cell(cell).get_attribute("class").split(), "the cell to be undone")


def test_the_timeline_goes_back_any_number_of_cells(page):
    for n in range(1, 5):
        page.run(f"x = {n}")
    page.wait(lambda: len(page.all("[data-checkpoint]")) == 4, "four checkpoints")
    assert "x = 2" in page.all("[data-checkpoint]")[2].text  # newest first
    page.all("[data-checkpoint]")[2].find_element(By.CSS_SELECTOR, "button").click()
    page.wait(lambda: len(page.all(".cell.undone")) == 3, "three cells to be undone")
    page.wait(lambda: len(page.all("[data-checkpoint]")) == 1, "the later checkpoints to go")
    assert page.output(page.run("x")).split()[-1] == "1"


def test_memory_is_measured_when_asked(page):
    page.run("x = 1")
    page.run("x = 2")
    page.wait(lambda: len(page.all("[data-checkpoint]")) == 2, "two checkpoints")
    assert "iB" not in page.text("#timeline")
    page.click("Measure memory")
    page.wait_text("#timeline", "iB own")


def test_a_branch_has_the_state_and_its_own_future(page):
    page.run("x = 1")
    page.run("x = 2")
    page.wait(lambda: len(page.all("[data-checkpoint]")) == 2, "two checkpoints")
    page.all("[data-checkpoint]")[0].find_elements(By.CSS_SELECTOR, "button")[1].click()
    page.wait(lambda: not page.driver.current_url.endswith(page.session), "the new session")
    branch = page.driver.current_url.rpartition("#")[2]
    page.wait_ready()
    page.begin("print('x here is', x)")
    page.wait_text("#cells", "x here is 1")
    page.join(page.session)
    page.wait(lambda: len(page.all(".cell")) == 2, "the cells of the first session")
    assert page.output(page.run("x")).split()[-1] == "2"
    page.server.ask("DELETE", f"/v1/sessions/{branch}")


def test_a_crash_loses_nothing_but_its_cell(page):
    page.run("kept = 'safe'")
    cell = page.begin("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    page.wait_status(cell, "crashed")
    banner = page.inside(cell, ".banner")[0]
    assert banner.get_attribute("role") == "alert"
    assert "goes on from the state before this cell" in banner.text
    page.wait(lambda: not page.visible("#busy"), "the session to be idle")
    assert page.output(page.run("kept")).split()[-1] == "'safe'"


def test_an_ended_session_can_only_be_read(page):
    page.run("'something to read'")
    page.begin("raise SystemExit")
    page.wait_text("#readonly", "has ended")
    assert not page.visible("#input-cell")
    page.driver.refresh()
    page.wait_text("#readonly", "has ended")
    page.wait_text("#cells", "'something to read'")


def test_sharing_with_everyone_and_taking_it_back(page):
    page.click("Share session")
    page.click("Share with everyone")
    page.wait_text("dialog .shares", "Everyone")
    assert page.server.ask("GET", f"/v1/sessions/{page.session}")["shares"] == {"*": "view"}
    page.click("Stop sharing with everyone")
    page.wait_text("dialog .shares", "Only you")
    assert page.server.ask("GET", f"/v1/sessions/{page.session}")["shares"] == {}
