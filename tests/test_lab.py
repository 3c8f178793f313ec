"""Each notebook in JupyterLab, as a reader meets it: Run All, a slider moved, pictures in build/lab/ to look at.

Slow, a browser and a server: `make test-all` runs it, `make test` does not.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import uuid

import anatomy
import pytest
import run

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")]

PICTURES = run.BUILD / "lab"
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},  # cells out of sight are in the page, too
}
PROMPTS = """() => [...document.querySelectorAll('.jp-CodeCell')]
    .filter(cell => cell.querySelector('.cm-content').innerText.trim())
    .map(cell => cell.querySelector('.jp-InputPrompt').innerText)"""


def emptied(path, folder):
    """A copy of a notebook without outputs, so that nothing old can be taken for new."""
    nb = json.loads(path.read_text(encoding="utf-8"))
    for cell in anatomy.code_cells(nb):
        cell.update(outputs=[], execution_count=None)
    copy = folder / path.name
    copy.write_text(json.dumps(nb), encoding="utf-8")
    return copy


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab over a folder of its own, and that folder."""
    folder, settings = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("settings")
    for name, content in SETTINGS.items():
        file = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", "--IdentityProvider.token=token", f"--ServerApp.root_dir={folder}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, env={**os.environ, "JUPYTERLAB_SETTINGS_DIR": str(settings)}, **quiet)
    address = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/api?token=token", timeout=1)
            break
        except OSError:
            time.sleep(0.5)
    yield address, folder
    server.terminate()
    server.wait(30)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as tools:
        opened = tools.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()


def opened(browser, lab, path):
    """The notebook in a window of its own, its kernel at rest."""
    page = browser.new_page(viewport={"width": 1280, "height": 1400})
    page.goto(f"{lab}/lab/workspaces/{uuid.uuid4().hex}/tree/{path.name}?token=token", wait_until="domcontentloaded")
    page.wait_for_selector(".jp-NotebookPanel .jp-CodeCell", timeout=90_000)
    idle = page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']")
    question = page.locator(".jp-Dialog button.jp-mod-accept")  # which kernel? asked while the list still loads
    calm, deadline = 0, time.monotonic() + 90
    while calm < 4 and time.monotonic() < deadline:
        if question.count():
            question.first.click()
        named = page.get_by_text("Python 3 (ipykernel)", exact=True).count()
        calm = calm + 1 if named and idle.count() and not question.count() else 0
        time.sleep(0.5)
    assert calm == 4, f"{path.name}: no kernel was ready after 90 s"
    return page


def run_all(page, seconds=400):
    """Run All from the menu; the errors that cells showed until each cell had its number, or the time was over."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator("li[data-command='runmenu:run-all']").click()
    errors, deadline = [], time.monotonic() + seconds
    while not errors and time.monotonic() < deadline:
        prompts = page.evaluate(PROMPTS)
        if prompts and all(prompt.strip("[]: ").isdigit() for prompt in prompts):
            return errors
        errors = page.locator("[data-mime-type='application/vnd.jupyter.error']").all_inner_texts()
        time.sleep(1)
    return errors or [f"after {seconds} s the prompts are {prompts}"]


def photograph(page, name):
    """Screenshots down the notebook."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    scroller = page.locator(".jp-WindowedPanel-outer").first
    height, whole = scroller.evaluate("e => [e.clientHeight, e.scrollHeight]")
    for number in range(-(-whole // height)):
        scroller.evaluate(f"e => e.scrollTo(0, {number * height})")
        page.wait_for_timeout(300)
        page.screenshot(path=PICTURES / f"{name}-{number + 1:02}.png")


def move_a_slider(page):
    """Milliseconds from a key press on the last slider to the new picture, the median of nine."""
    panel = page.locator(".jp-OutputArea-output .widget-vbox").first
    handle, picture = panel.locator("[role='slider']").last, panel.locator("img")
    handle.scroll_into_view_if_needed()
    handle.focus()
    took = []
    for _ in range(9):
        before, start = picture.get_attribute("src"), time.perf_counter()
        page.keyboard.press("PageUp")  # a large step
        page.wait_for_function("([e, old]) => e.src !== old", arg=[picture.element_handle(), before], timeout=10_000)
        took.append(1000 * (time.perf_counter() - start))
    return sorted(took)[4]


@pytest.mark.parametrize("path", run.find([]), ids=lambda path: path.stem)
def test_a_notebook_runs_in_jupyterlab(path, lab, browser):
    address, folder = lab
    page = opened(browser, address, emptied(path, folder))
    try:
        errors = run_all(page)
        photograph(page, path.stem)
        assert not errors, f"{path.stem}: {errors}"
        if any("explorer" in anatomy.tags(cell) for cell in anatomy.code_cells(json.loads(path.read_text()))):
            print(f"{path.stem}: a slider redraws within {move_a_slider(page):.0f} ms, browser included")
            page.screenshot(path=PICTURES / f"{path.stem}-slider.png")
    finally:
        page.close()
