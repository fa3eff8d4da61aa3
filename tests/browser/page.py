"""The page of `brood serve` in a headless browser, in the words of somebody who uses it."""

import shutil
import tempfile

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from brood_server import TOKEN

DEADLINE = 20  # seconds: a hang, not a measure of speed
SWITCHES = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
  --disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1400,900""".split()

# Every socket that the page opens is kept where a test can break it; while `offline` is set, a new
# one leads nowhere.
WATCH_SOCKETS = """
  window.sockets = [];
  window.WebSocket = class extends WebSocket {
    constructor(address) {
      super(window.offline ? `ws://${location.host}/nowhere` : address);
      if (!window.offline) window.sockets.push(this);
    }
  };
"""


class Browser:
    """A browser with a profile of its own; several pages may be open in it."""

    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="brood-chromium-")
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for switch in [*SWITCHES, f"--user-data-dir={self.profile}"]:
            options.add_argument(switch)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
        self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH_SOCKETS})

    def forget(self):
        """As new: one empty page, no cookies, nothing stored."""
        first, *others = self.driver.window_handles
        for handle in others:
            self.driver.switch_to.window(handle)
            self.driver.close()
        self.driver.switch_to.window(first)
        self.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        self.driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": "*", "storageTypes": "local_storage"})
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        self.driver.get("about:blank")
        self.driver.get_log("browser")

    def close(self):
        self.driver.quit()
        shutil.rmtree(self.profile, ignore_errors=True)


class Page:
    def __init__(self, driver, server):
        self.driver = driver
        self.server = server

    # --- looking --------------------------------------------------------------------------------

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.wait(lambda: next(iter(self.visible(selector)), None), f"{selector} to be there")

    def visible(self, selector):
        return [element for element in self.all(selector) if element.is_displayed()]

    def text(self, selector):
        return "\n".join(element.text for element in self.all(selector))

    def js(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def wait(self, condition, what, deadline=DEADLINE):
        """Elements that are drawn again while one looks at them are looked at again."""
        from selenium.common.exceptions import StaleElementReferenceException

        waiting = WebDriverWait(self.driver, deadline, 0.02, [StaleElementReferenceException])
        return waiting.until(lambda _: condition(), f"waited {deadline} s in vain for {what}")

    def wait_text(self, selector, expected):
        self.wait(lambda: expected in self.text(selector), f"{expected!r} in {selector}")

    # --- logging in, sessions -------------------------------------------------------------------

    def log_in(self, session=""):
        self.driver.get(f"{self.server.url}/?token={TOKEN}#{session}")
        self.one("#app")

    def join(self, session):
        self.driver.get(f"{self.server.url}/#{session}")
        self.wait_ready()

    def wait_ready(self):
        self.one("#input-cell .cm-content[contenteditable=true]")
        self.wait(lambda: not self.visible("#busy"), "the session to be idle")

    # --- cells ----------------------------------------------------------------------------------

    def press(self, *keys, held=()):
        actions = ActionChains(self.driver)
        for key in held:
            actions.key_down(key)
        actions.send_keys(*keys)
        for key in reversed(held):
            actions.key_up(key)
        actions.perform()

    def write(self, code):
        """Puts the code into the editor, as a paste would."""
        self.one(".cm-content").click()
        self.press("a", held=[Keys.CONTROL])
        self.press(Keys.DELETE)
        self.driver.execute_cdp_cmd("Input.insertText", {"text": code})
        self.wait(lambda: self.code() == code, "the editor to have the code")

    def code(self):
        """What the editor shows."""
        return self.js(
            "return [...document.querySelectorAll('.cm-line')]"
            ".map(l => l.querySelector('.cm-placeholder') ? '' : l.textContent).join('\\n')"
        )

    def begin(self, code):
        """Runs the code; returns its cell as soon as that is there."""
        before = len(self.all(".cell"))
        self.write(code)
        self.press(Keys.ENTER, held=[Keys.SHIFT])
        self.wait(lambda: len(self.all(".cell")) > before, f"the cell of {code!r}")
        return before

    def run(self, code, status="ok"):
        """Runs the code to its end; returns the number of its cell on the page, from 0."""
        cell = self.begin(code)
        self.wait_status(cell, status)
        return cell

    def wait_status(self, cell, status):
        self.wait(lambda: self.status(cell) == status, f"cell {cell} to be {status}, it is {self.status(cell)}")

    def status(self, cell):
        return self.cell(cell).get_attribute("data-status")

    def cell(self, number):
        return self.all(".cell")[number]

    def inside(self, cell, selector):
        return self.cell(cell).find_elements(By.CSS_SELECTOR, selector)

    def output(self, cell):
        return "\n".join(element.text for element in self.inside(cell, ".outputs > *"))

    def click(self, label):
        """The visible button with that text or name; in the dialog, if one is open."""

        def found():
            for element in self.visible("dialog button" if self.all("dialog") else "button"):
                if label in (element.text.strip(), element.get_attribute("aria-label")) and element.is_enabled():
                    return element
            return None

        self.wait(found, f"a button {label!r}").click()

    # --- the connection -------------------------------------------------------------------------

    def break_connection(self, stay_offline=False):
        self.js("window.offline = arguments[0]; window.sockets.at(-1).close()", stay_offline)

    def addresses(self):
        return self.js("return window.sockets.map(s => s.url)")

    def problems(self):
        """What the browser complained of: errors, refused by a policy, ..."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
