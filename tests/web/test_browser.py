"""The whole path in a real browser: from an empty folder to a model that was built, trained, looked at and played with."""

import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from ftheta.lifecycle.recipe import parse_yaml, shipped
from ftheta.web.recipes import recipe_named
from listening import until

pytest.importorskip("uvicorn")
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: the page is not tried in a browser")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]
SECONDS = 90
DIGITS = "extends: digits-convnet\nname: seven\ntrain: {epochs: null, minutes: 0.1, validation: {every: 20}}\n"
TEXT = """
format: 1
name: writer
data:
  source: {kind: text_files, path: "python:stdlib", include: ["json/*.py", "email/*.py", "html/*.py"]}
  split: {validation: 0.1, test: 0.1}
  tokenizer: bytes
  pack: {length: 64}
model: {kind: decoder, dim: 16, depth: 1, context: 64, mixer: {kind: attention, heads: 2}}
objective: next_token
train: {steps: 12, batch: 4, validation: {every: 6, batches: 1}}
evaluate: [bits_per_byte]
"""
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium: the page is not tried in a browser")]


class Server:
    """`ftheta ui` as a person starts it; it can be started again at the same address."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        command = [sys.executable, "-c", "from ftheta.cli import main; main()", "ui", str(self.folder), "--port", self.address.rpartition(":")[2]]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until(self.there, SECONDS)

    def there(self) -> bool:
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", int(self.address.rpartition(":")[2]))) == 0

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) is not None


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """A server over a folder that is not there yet, and a page that is looked at; nothing may go wrong in it unseen."""
    server = Server(tmp_path_factory.mktemp("page") / "runs")
    server.start()
    wrong: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=FLAGS)
        page = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US").new_page()
        page.set_default_timeout(1000 * SECONDS)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if line.type == "error" and "Failed to load resource" not in line.text else None)
        page.on("request", lambda request: wrong.append(request.url) if not request.url.startswith((server.address, "blob:", "data:")) else None)
        yield SimpleNamespace(page=page, server=server, wrong=wrong)
        browser.close()
    server.stop()
    assert not wrong


def built(seen: Any, recipe: str) -> None:
    """Type a recipe into the builder and start it."""
    seen.page.goto(f"{seen.server.address}/#/build")
    seen.page.locator("textarea.yaml").fill(recipe)
    start = seen.page.get_by_role("button", name="Start", exact=True)
    playwright.expect(start).to_be_enabled(timeout=1000 * SECONDS)
    start.click()


def done(seen: Any) -> None:
    seen.page.locator(".badge.done").wait_for()
    playwright.expect(seen.page.locator(".tiles")).to_contain_text("Steps")


def test_a_form_says_what_is_wrong_and_what_does_not_fit(seen):
    page = seen.page
    page.goto(seen.server.address)
    playwright.expect(page.get_by_text("There are no runs in this folder yet.")).to_be_visible()
    page.get_by_role("link", name="New run").click()
    page.locator(".recipes").get_by_role("button", name="digits-convnet").click()
    page.locator(".plan").wait_for()                                                      # the estimate of `ftheta plan`
    rate = page.get_by_label("rate", exact=True)
    rate.fill("-1")
    playwright.expect(page.locator(".problem")).to_contain_text("greater than 0")
    assert "rate: -1" in page.locator("textarea.yaml").input_value() and rate.get_attribute("aria-invalid") == "true"
    rate.fill("0.01")
    playwright.expect(page.get_by_text("The parts fit together.")).to_be_visible()
    unfit, fit = (page.locator("option", has_text=re.compile(f"^{name}$")) for name in ("next_token", "classification"))
    assert unfit.is_disabled() and fit.is_enabled() and "'tokens'" in unfit.get_attribute("title")
    page.locator("textarea.yaml").fill("format: 1\nname: [")
    playwright.expect(page.locator(".problems")).to_contain_text("line 2")


def test_every_shipped_recipe_has_a_form_and_yaml_that_says_the_same(seen):
    page = seen.page
    page.goto(f"{seen.server.address}/#/build")
    for name in shipped():
        page.get_by_label("Start from").select_option(name)
        playwright.expect(page.locator("textarea.yaml")).to_have_value(re.compile(f"^name: {re.escape(name)}$", re.MULTILINE))
        assert parse_yaml(page.locator("textarea.yaml").input_value(), name) == recipe_named(name)
        assert page.locator(".form .field").count() > 10


def test_a_digit_is_learned_and_drawn(seen):
    page = seen.page
    built(seen, DIGITS)
    page.locator(".badge.running").wait_for()
    page.locator(".curve canvas").first.wait_for()
    assert page.get_by_role("button", name="Stop").get_attribute("title").startswith("kill -TERM ")
    page.reload()                                                                         # a view of the folder: nothing is lost
    page.locator(".curve canvas").first.wait_for()
    done(seen)
    page.get_by_role("tab", name="Card", exact=True).click()
    playwright.expect(page.locator(".prose")).to_contain_text("accuracy")
    page.locator(".prose img").first.wait_for()
    seen.server.stop()
    playwright.expect(page.get_by_text("The server cannot be reached.")).to_be_visible(timeout=1000 * SECONDS)
    seen.server.start()
    playwright.expect(page.get_by_text("The server cannot be reached.")).to_be_hidden(timeout=1000 * SECONDS)
    page.get_by_role("button", name="Play with the model").click()
    board = page.locator(".board canvas")
    frame = board.bounding_box()
    page.mouse.move(frame["x"] + 128, frame["y"] + 50)
    page.mouse.down()
    page.mouse.move(frame["x"] + 128, frame["y"] + 210, steps=6)
    page.mouse.up()
    playwright.expect(page.locator(".bars tr")).to_have_count(10)
    shares = [float(text.removesuffix(" %")) for text in page.locator(".bars td:last-child").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=0.5) and shares == sorted(shares, reverse=True)
    page.get_by_label("Show what it rests on").check()
    playwright.expect(page.locator("figure.evidence figcaption")).to_have_text(re.compile(r"^Grad-CAM → \d$"))
    assert page.locator("figure.evidence canvas").evaluate("canvas => new Set(canvas.getContext('2d').getImageData(0, 0, 28, 28).data).size") > 20
    page.get_by_role("button", name="Clear").click()
    board.focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press(" ")
    playwright.expect(page.locator(".bars tr")).to_have_count(10)


def test_a_text_is_learned_and_goes_on(seen):
    page = seen.page
    built(seen, TEXT)
    done(seen)
    assert page.get_by_role("tab", name="Data card").count() == 1
    page.get_by_role("button", name="Play with the model").click()
    page.get_by_label("Prompt").fill("import ")
    page.get_by_label("At most tokens").fill("20")
    page.get_by_role("button", name="Write").click()
    playwright.expect(page.locator(".written")).to_have_attribute("aria-busy", "false", timeout=1000 * SECONDS)
    assert page.locator(".token").count() > 5
    page.locator(".tokens").focus()
    for _ in range(page.locator(".token").count()):                                       # a character of several tokens has no alternatives of its own
        page.keyboard.press("ArrowRight")
        if page.locator(".peek > span").count():
            break
    assert page.locator(".peek > span").count() in range(1, 6)                            # bytes that are no text go by one name
    assert re.search(r"[\d.]+ %", page.locator(".peek strong").inner_text())
    page.get_by_label("Show what it rests on").check()
    looked = page.locator(".evidence .tokens")
    looked.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    playwright.expect(page.locator(".evidence .token").nth(4)).to_have_class(re.compile(r"\bat\b"))
    rows = page.locator(".evidence .peek > span")
    playwright.expect(rows).to_have_count(5)
    playwright.expect(page.locator(".evidence .peek > span small").first).to_be_visible()
    playwright.expect(page.locator(".evidence .token").nth(6)).to_have_attribute("style", re.compile("--share: ?0%"))        # nothing comes from later ones
    shares = [float(text.split()[-2]) for text in rows.all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=1) and shares == sorted(shares, reverse=True)
    page.get_by_label("Head").select_option("1")
    page.get_by_label("Found by").select_option("gradient")
    playwright.expect(page.get_by_text("blue tokens speak for")).to_be_visible()
    playwright.expect(page.get_by_label("Head")).to_be_hidden()


def test_two_runs_are_compared_and_the_page_speaks_two_languages(seen):
    page = seen.page
    page.goto(f"{seen.server.address}/#/runs")
    for name in ("seven", "writer"):
        page.get_by_label(f"Compare: {name}").check()
    page.get_by_role("link", name="Compare").click()
    page.locator(".interval").nth(1).wait_for()
    assert {"seven", "writer"} == set(page.locator(".interval > span:first-child").all_inner_texts())
    playwright.expect(page.locator(".command code")).to_have_text(re.compile(r"^ftheta compare .*/(seven|writer) .*/(seven|writer)$"))
    page.get_by_role("button", name="中文").click()
    playwright.expect(page.get_by_role("link", name="训练", exact=True)).to_be_visible()
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    page.reload()
    page.get_by_role("button", name="English").click()
    page.get_by_label("Theme").select_option("dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 23, 27)"
    page.get_by_label("Theme").select_option("light")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(247, 247, 245)"
