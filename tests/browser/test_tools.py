"""The editor's help, files, messages, keys, themes and small screens."""

import os
import urllib.request

from brood_server import TOKEN
from selenium.webdriver.common.keys import Keys


def completions(page):
    return [e.text for e in page.visible(".cm-tooltip-autocomplete .cm-completionLabel")]


def test_completion_knows_the_live_session(page):
    page.run("class Thing:\n    colour = 'green'\n    weight = 3\nthing = Thing()")
    page.write("thing.co")
    page.press(Keys.SPACE, held=[Keys.CONTROL])
    page.wait(lambda: completions(page) == ["colour"], "the completion")
    # A key within the first milliseconds of the list is not taken for an answer to it.
    page.wait(lambda: page.code() == "thing.colour" or page.press(Keys.TAB), "the completed name")


def test_inspection_tells_of_the_name_at_the_cursor(page):
    page.run("def area(width, height=2):\n    'How much it covers.'\n    return width * height")
    page.write("area")
    page.press(Keys.TAB, held=[Keys.SHIFT])
    page.wait_text(".inspection", "How much it covers.")
    assert "height=2" in page.text(".inspection")
    page.press(Keys.ESCAPE)
    page.wait(lambda: not page.all(".inspection"), "the tooltip to close")


def test_the_history_is_walked_with_the_arrows(page):
    page.run("a = 1")
    page.run("b = 2\nc = 3")
    page.write("draft")
    page.press(Keys.ARROW_UP)
    page.wait(lambda: page.code() == "b = 2\nc = 3", "the newest code")
    page.press(Keys.ARROW_UP)
    page.wait(lambda: page.code() == "a = 1", "the code before")
    page.press(Keys.ARROW_DOWN)
    page.press(Keys.ARROW_DOWN)  # to its second line
    page.press(Keys.ARROW_DOWN)
    page.wait(lambda: page.code() == "draft", "the draft again")


def test_files_are_uploaded_read_downloaded_and_deleted(page, tmp_path):
    path = tmp_path / "note (1).txt"
    path.write_text("forty-two\n")
    page.click("Files")
    page.all("#files input[type=file]")[0].send_keys(os.fspath(path))
    link = page.one("#files a[download]")
    assert link.text == "note (1).txt"
    page.run("print(open('note (1).txt').read())")
    assert page.output(0) == "forty-two"
    request = urllib.request.Request(link.get_attribute("href"), headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=30) as response:
        assert response.read() == b"forty-two\n"
        assert response.headers["Content-Disposition"].startswith("attachment")
    page.click("Delete note (1).txt")
    page.click("Delete")
    page.wait(lambda: not page.all("#files a[download]"), "the file to go")


def test_a_file_is_dropped_anywhere(page):
    page.js(
        """
        const data = new DataTransfer();
        data.items.add(new File(["dropped"], "dropped.txt"));
        for (const type of ["dragover", "drop"]) {
          document.querySelector("#cells").dispatchEvent(
            new DragEvent(type, {dataTransfer: data, bubbles: true, cancelable: true}));
        }
        """
    )
    page.wait_text("#files", "dropped.txt")
    assert page.output(page.run("open('dropped.txt').read()")).split()[-1] == "'dropped'"


def test_messages_of_the_program_are_listed(page):
    page.click("Messages")
    page.run("import brood.messages\nbrood.messages.send('hello page')")
    page.wait_text(".messages", "hello page")
    assert "hello page" not in page.output(0)


def test_the_keyboard_help_opens_outside_of_the_editor_only(page):
    page.one(".cm-content").click()
    page.press("?")
    assert not page.all("dialog")
    page.js("document.activeElement.blur()")
    page.press("?")
    page.wait_text("dialog", "Shift Enter")
    page.press(Keys.ESCAPE)
    page.wait(lambda: not page.all("dialog"), "the dialog to close")


def test_the_theme_is_switched_and_remembered(page):
    before = page.js("return document.documentElement.dataset.theme")
    page.click("Light or dark")
    after = page.js("return document.documentElement.dataset.theme")
    assert {before, after} == {"light", "dark"}
    page.driver.refresh()
    page.wait_ready()
    assert page.js("return document.documentElement.dataset.theme") == after


def test_everything_has_a_name_and_can_be_reached_by_keyboard(page):
    page.run("1")
    nameless = page.js(
        """
        return [...document.querySelectorAll("button, input, select, a[href]")]
          .filter((e) => e.checkVisibility())
          .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length))
          .map((e) => e.outerHTML);
        """
    )
    assert nameless == []
    page.js("document.activeElement.blur(); window.getSelection().removeAllRanges()")
    reached = set()
    for _ in range(60):
        page.press(Keys.TAB)
        reached.add(page.js("return document.activeElement.id"))
        if page.js("return document.activeElement.closest('.cm-editor') !== null"):
            break
    assert {"new-session", "toggle-sessions", "undo", "toggle-side"} <= reached


def test_a_phone_has_drawers_and_no_sideways_scrolling(page):
    page.run("print('x' * 500)")
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.wait(lambda: not page.visible("#sessions") and not page.visible("#side"), "the panels to close")
    assert page.js("return document.documentElement.scrollWidth <= innerWidth")
    page.one("#toggle-side").click()
    page.one("#timeline")
    page.press(Keys.ESCAPE)
    page.wait(lambda: not page.visible("#side"), "the drawer to close")
    page.one("#toggle-sessions").click()
    page.one("#session-list .session[aria-current]").click()
    page.wait(lambda: not page.visible("#sessions"), "the drawer to close")
    assert page.output(page.run("40 + 2")).split()[-1] == "42"


def test_the_browser_has_nothing_to_complain_of(page):
    page.run("print('a')\n1")
    page.run("class H:\n    def _repr_html_(self): return '<b>bold</b>'\nH()")
    page.wait(lambda: page.all("iframe"), "the frame")
    page.click("Files")
    page.click("Messages")
    page.click("Timeline")
    assert page.problems() == []
