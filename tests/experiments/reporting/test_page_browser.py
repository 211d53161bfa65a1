"""The page in a browser without a screen: nothing overflows, every picture loads, no errors."""

import json
import re
import shutil
import subprocess

import pytest

from experiments.reporting.page import build

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
LOOK = """<script>
window.addEventListener("load", () => {
  const inside = element => element.closest(".wide") && !element.matches(".wide");
  const wide = [...document.querySelectorAll("body *")].filter(
    element => !inside(element) && element.getBoundingClientRect().right > innerWidth + 1);
  document.body.setAttribute("data-seen", JSON.stringify({
    width: innerWidth,
    scrolls: document.documentElement.scrollWidth > innerWidth,
    overflowing: wide.map(element => element.outerHTML.slice(0, 80)),
    broken: [...document.images].filter(i => !i.complete || i.naturalWidth === 0).length,
    images: document.images.length,
    text: document.body.innerText.length}));
});
</script>"""
needs_a_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt install chromium")


def opened(text, folder, width):
    """What a browser window of some width sees of a page, and the messages of its console."""
    page = folder / "page.html"
    page.write_text(text.replace("</body>", f"{LOOK}</body>"))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900"]
    command += ["--virtual-time-budget=20000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    seen = re.search(r'data-seen="([^"]*)"', done.stdout)[1].replace("&quot;", '"')
    return json.loads(seen), re.findall(r"CONSOLE.*", done.stderr)


@pytest.fixture(scope="module")
def text(finished):
    return build.page_of_run(finished[1], 1, "a command")


@pytest.mark.slow
@needs_a_browser
@pytest.mark.parametrize("width", [1100, 500])
def test_the_page_is_whole_in_a_window_of_any_width(text, tmp_path, width):
    seen, messages = opened(text, tmp_path, width)
    assert seen["width"] == width
    assert seen["overflowing"] == []
    assert not seen["scrolls"]
    assert seen["broken"] == 0
    assert seen["images"] == text.count("<img ")
    assert seen["text"] > 5_000
    assert messages == []


@pytest.mark.slow
@needs_a_browser
def test_a_page_that_overflows_or_fails_is_found(tmp_path):
    bad = '<img src="data:image/png;base64,AAAA"><p style="width:3000px">wide</p>'
    bad += '<script>console.error("wrong")</script><img src="missing.png">'
    seen, messages = opened(f"<!doctype html><html><body>{bad}</body></html>", tmp_path, 800)
    assert seen["scrolls"]
    assert len(seen["overflowing"]) == 1
    assert seen["broken"] == 2
    assert any("wrong" in message for message in messages)
