"""Running code: what is shown for it."""

import base64
import struct
import zlib

from selenium.webdriver.common.keys import Keys


def test_a_value(page):
    cell = page.run("6 * 7")
    assert page.output(cell).split() == ["Out", "42"]
    assert page.inside(cell, ".label")[0].text == "[1]"
    assert page.code() == ""


def test_ctrl_enter_keeps_the_code(page):
    page.write("'kept'")
    page.press(Keys.ENTER, held=[Keys.CONTROL])
    page.wait(lambda: page.all(".cell") and page.status(0) == "ok", "the cell to end")
    assert page.code() == "'kept'"


def test_output_and_errors_are_told_apart(page):
    cell = page.begin("import sys\nprint('one')\nprint(input(), file=sys.stderr)\nprint(input())")
    for line in ("two", "three"):  # written at the same moment, their order would be open
        page.one(".stdin input").send_keys(line, Keys.ENTER)
        page.wait_text("#cells", line)
    page.wait_status(cell, "ok")
    streams = [(e.get_attribute("class"), e.text) for e in page.inside(cell, ".stream")]
    assert streams == [("stream stdout", "one"), ("stream stderr", "two"), ("stream stdout", "three")]


def test_ctrl_d_ends_what_a_cell_reads(page):
    cell = page.begin("import sys\nsys.stdin.read()")
    for asked, line in enumerate(("one", "two"), 2):
        page.one(".stdin.open input").send_keys(line, Keys.ENTER)
        page.wait(lambda asked=asked: len(page.all(".stdin")) == asked and page.all(".stdin.open"), "the next line")
    page.one(".stdin.open input").send_keys(Keys.CONTROL, "d")
    page.wait_status(cell, "ok")
    assert r"'one\ntwo\n'" in page.output(cell)


def test_output_is_shown_while_the_cell_runs(page):
    cell = page.begin("print('before')\ninput()\nprint('after')")
    page.wait(lambda: "before" in page.output(cell), "the first line")
    assert page.status(cell) == "running"
    assert page.visible("#busy")
    page.one(".stdin input").send_keys(Keys.ENTER)
    page.wait_status(cell, "ok")
    assert "after" in page.output(cell)


def test_a_progress_bar_is_one_line(page):
    cell = page.run("for i in range(101): print(f'\\r{i} %', end='')\nprint()")
    assert page.output(cell) == "100 %"


def test_colours(page):
    cell = page.run("print('\\033[31mred\\033[0m plain')")
    (red,) = page.inside(cell, ".stream span")
    assert red.text == "red"
    assert page.output(cell) == "red plain"
    assert "ansi-1" in red.get_attribute("style")


def test_long_output_is_folded(page):
    cell = page.run("for i in range(5000): print('line', i)")
    shown = page.output(cell)
    assert "line 0\n" in shown and "line 4999" in shown and "line 2500" not in shown
    page.click("Show all 5000 lines")
    assert "line 2500" in page.output(cell)
    page.click("Show less")
    assert "line 2500" not in page.output(cell)


def test_an_error_shows_its_traceback(page):
    cell = page.run("def divide(n):\n    return n / 0\ndivide(3)", status="error")
    (error,) = page.inside(cell, ".error")
    assert "in divide" in error.text
    assert "ZeroDivisionError: division by zero" in error.text
    assert page.run("'still here'") == cell + 1


def test_a_question_is_answered(page):
    cell = page.begin("name = input('Your name? ')\nprint('hello', name)")
    field = page.one(".stdin input")
    assert field.get_attribute("type") == "text"
    assert "Your name?" in page.output(cell)
    field.send_keys("Ada", Keys.ENTER)
    page.wait_status(cell, "ok")
    assert "hello Ada" in page.output(cell)
    assert not page.visible(".stdin input")


def test_a_password_is_not_shown(page):
    cell = page.begin("import getpass\nlen(getpass.getpass('Secret: '))")
    field = page.one(".stdin input")
    assert field.get_attribute("type") == "password"
    field.send_keys("seven77", Keys.ENTER)
    page.wait_status(cell, "ok")
    assert "seven77" not in page.text("#cells")
    assert page.output(cell).split()[-1] == "7"


def test_cells_wait_for_their_turn(page):
    first = page.begin("input()")
    page.one(".stdin input")
    page.write("'second'")
    page.press(Keys.ENTER, held=[Keys.SHIFT])
    page.wait_text("#queued", "'second'")
    page.one(".stdin input").send_keys(Keys.ENTER)
    page.wait(lambda: len(page.all(".cell")) == first + 2, "the second cell")
    page.wait_status(first + 1, "ok")
    page.wait(lambda: page.text("#queued") == "", "nothing to wait")


def test_a_cell_is_edited_and_run_again(page):
    page.run("value = 1\nvalue")
    page.inside(0, "pre.code")[0].click()
    page.wait(lambda: page.code() == "value = 1\nvalue", "the code in the editor")
    page.press(Keys.ENTER, held=[Keys.SHIFT])
    page.wait(lambda: len(page.all(".cell")) == 2 and page.status(1) == "ok", "the new cell")


# --- rich values ---------------------------------------------------------------------------------


def rich(mime, expression):
    """Code whose value shows as `mime`."""
    method = {"text/html": "html", "image/svg+xml": "svg", "image/png": "png", "text/markdown": "markdown"}[mime]
    return f"class Rich:\n    def _repr_{method}_(self):\n        return {expression}\nRich()"


def tiny_png():
    """2 x 3 points of white."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 3, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\xff\xff" * 3)) + chunk(b"IEND", b"")


def natural_size(page, cell):
    images = page.inside(cell, "img.figure")
    return page.js("return arguments[0].map(i => [i.naturalWidth, i.naturalHeight])", images)


def test_a_picture(page):
    encoded = base64.b64encode(tiny_png()).decode()
    cell = page.run("import base64\n" + rich("image/png", f"base64.b64decode({encoded!r})"))
    page.wait(lambda: natural_size(page, cell) == [[2, 3]], "the picture")


def test_a_drawing(page):
    drawing = '<svg xmlns="http://www.w3.org/2000/svg" width="30" height="20"><circle r="5"/></svg>'
    cell = page.run(rich("image/svg+xml", repr(drawing)))
    page.wait(lambda: natural_size(page, cell) == [[30, 20]], "the drawing")


def test_markdown_becomes_elements_but_no_html(page):
    cell = page.run(rich("text/markdown", repr("# Title\n\n* one\n* **two** <b onclick='x'>html</b>")))
    assert [e.text for e in page.inside(cell, ".markdown li")] == ["one", "two <b onclick='x'>html</b>"]
    assert [e.text for e in page.inside(cell, ".markdown strong")] == ["two"]


# --- HTML of cells -------------------------------------------------------------------------------

# Tries all that the frame must not be able to, and writes down how it went.
ATTACK = """
<div id="report">no script ran</div><div style="height: 400px">tall</div>
<script>
  const report = document.getElementById("report");
  const tried = ["script ran"];
  const attempt = (name, action) => {
    try { action(); tried.push(name + " worked"); } catch (error) { tried.push(name + " refused"); }
  };
  attempt("parent", () => parent.document.title);
  attempt("cookie", () => document.cookie);
  attempt("storage", () => localStorage.length);
  attempt("top", () => { top.location.href = "about:blank#taken"; });
  fetch("/v1/me").then(() => "worked", () => "refused").then((how) => {
    tried.push("fetch " + how);
    report.textContent = tried.join("; ");
  });
</script>
"""


def in_frame(page, cell, action):
    """What `action` returns inside the cell's frame."""
    page.driver.switch_to.frame(page.inside(cell, "iframe")[0])
    try:
        return action()
    finally:
        page.driver.switch_to.default_content()


def test_html_runs_its_scripts_but_cannot_act_as_the_user(page):
    cell = page.run(rich("text/html", repr(ATTACK)))
    page.wait(lambda: in_frame(page, cell, lambda: "fetch" in page.text("#report")), "the report of the frame")
    report = in_frame(page, cell, lambda: page.text("#report"))
    expected = ["script ran", "parent refused", "cookie refused", "storage refused", "top refused", "fetch refused"]
    assert report.split("; ") == expected
    assert page.driver.current_url == f"{page.server.url}/#{page.session}"


def test_all_of_a_long_text_has_no_escapes(page):
    text = "class Text:\n    def __repr__(self):\n        return '\\x1b[31mred\\x1b[0m ' * 30000\nText()"
    cell = page.run(text)
    page.click("Show all 390000 characters")
    page.wait(lambda: len(page.output(cell)) >= 4 * 30000 - 1, "all of the text")
    assert set(page.output(cell).split()) == {"Out", "red"}


def test_html_gets_the_height_it_needs(page):
    cell = page.run(rich("text/html", repr('<div style="height: 333px">tall</div>')))

    def height():
        return page.inside(cell, "iframe")[0].size["height"]

    page.wait(lambda: 333 <= height() <= 360, "the frame to fit its content")


def test_html_as_high_as_its_frame_does_not_grow(page):
    html = '<div id="high" style="height: 100vh">as high</div><button>more</button>'
    script = "<script>document.querySelector('button').onclick = () => document.querySelector('#high').style.height = '500px'</script>"
    cell = page.run(rich("text/html", repr(html + script)))

    def height():
        return page.inside(cell, "iframe")[0].size["height"]

    page.wait(lambda: height() > 30, "the frame to have a height")
    before, seen = height(), set()
    for _ in range(20):  # each time the browser has drawn, and could have told another height
        in_frame(page, cell, lambda: page.driver.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 20))"))
        seen.add(height())
    assert max(seen) < before + 60, seen
    in_frame(page, cell, lambda: page.one("button").click())
    page.wait(lambda: 500 <= height() <= 560, "the frame to fit its new content")


def test_html_cannot_lead_its_frame_elsewhere(page):
    leave = "<p>here</p><script>location.href = 'http://127.0.0.1:1/?stolen'</script>"
    cell = page.run(rich("text/html", repr(leave)))
    page.wait(
        lambda: any("frame-src" in m for m in page.problems()),
        "the browser to refuse the frame's way out",
    )
    assert page.run("'the page goes on'") == cell + 1
