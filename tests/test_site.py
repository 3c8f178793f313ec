"""The site as `make site` builds it: without a network, whole, and readable in a browser, light and dark."""

import functools
import http.server
import io
import json
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import anatomy
import pytest
from anatomy import ROOT
from PIL import Image

pytest.importorskip("myst_nb", reason="the site is built by the packages of the extra `site`")

NOTEBOOKS = sorted((ROOT / "notebooks").rglob("[0-9][0-9]_*.ipynb"))
CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
# Connecting, or starting a process (a kernel), ends the build with status 9.
BUILD = """
import os, pathlib, sys
forbidden = {"socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.fork", "os.posix_spawn"}
sys.addaudithook(lambda event, args: event in forbidden and (os.write(2, event.encode()), os._exit(9)))
sys.path.insert(0, "site")
import build
sys.exit(build.main(pathlib.Path(sys.argv[1])))
"""


class Page(HTMLParser):
    """What the tests ask of a page: its links by tag, its ids, its text."""

    def __init__(self, path):
        super().__init__()
        self.path, self.links, self.ids, self.text = path, [], set(), ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.links += [(tag, given[name]) for name in ("href", "src") if name in given]
        self.ids.add(given.get("id"))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    build = tmp_path_factory.mktemp("größe mit leerzeichen")
    done = subprocess.run([sys.executable, "-c", BUILD, build], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    folder = build / "site"
    paths = [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts]  # there lie templates
    pages = {path.relative_to(folder).as_posix(): Page(path) for path in paths}
    return SimpleNamespace(folder=folder, pages=pages)


def page_of(site, notebook):
    return site.pages[notebook.relative_to(ROOT).with_suffix(".html").as_posix()]


def for_each_notebook(test):
    return pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])(test)


@for_each_notebook
def test_the_contents_lead_to_every_notebook_which_can_be_downloaded(site, path):
    name = path.relative_to(ROOT).as_posix()
    assert ("a", name.replace(".ipynb", ".html")) in site.pages["index.html"].links
    assert ("a", f"{'../' * name.count('/')}_sources/{name}") in page_of(site, path).links
    assert (site.folder / "_sources" / name).read_bytes() == path.read_bytes()


@for_each_notebook
def test_the_committed_outputs_are_shown(site, path):
    page = page_of(site, path)
    outputs = [o for c in anatomy.code_cells(json.loads(path.read_text(encoding="utf-8"))) for o in c["outputs"]]
    printed = [line for o in outputs for line in "".join(o.get("text", "")).splitlines()]
    assert [line for line in printed if line.rstrip() not in page.text] == []
    tables = ["".join(o["data"]["text/html"]) for o in outputs if "text/html" in o.get("data", {})]
    html = page.path.read_text(encoding="utf-8")
    assert all(table in html for table in tables) and len(tables) >= ("run.report(" in page.text)
    pictures = [link for tag, link in page.links if tag == "img" and "_images/" in link]
    assert len(pictures) >= sum("image/png" in o.get("data", {}) for o in outputs)


def test_every_link_inside_leads_to_a_file_and_to_a_place_in_it(site):
    broken = []
    for name, page in site.pages.items():
        for _, link in page.links:
            url = urlsplit(link)
            target = (page.path.parent / unquote(url.path)).resolve() if url.path else page.path
            if url.scheme or url.netloc:
                continue
            there = site.pages.get(target.relative_to(site.folder).as_posix()) if target.is_file() else None
            if not target.is_file() or (there and url.fragment and unquote(url.fragment) not in there.ids):
                broken.append(f"{name}: {link}")
    assert not broken, "\n".join(broken)


def test_nothing_comes_from_another_host(site):
    elsewhere = re.compile(r"(?:https?:)?//")
    found = [(n, link) for n, p in site.pages.items() for tag, link in p.links if tag != "a" and elsewhere.match(link)]
    for path in site.folder.rglob("*.css"):
        found += re.findall(r"(?:url\(|@import) ?['\"]?(?:https?:)?//[^;)]*", path.read_text(encoding="utf-8"))
    assert found == []


@for_each_notebook
def test_the_words_of_a_notebook_can_be_searched(site, path):
    import snowballstemmer

    text = (site.folder / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    number = index["docnames"].index(path.relative_to(ROOT).with_suffix("").as_posix())
    terms = [*index["terms"].items(), *index["titleterms"].items()]
    known = {term for term, where in terms if number in (where if isinstance(where, list) else [where])}
    prose = re.sub(r"\$[^$]*\$|`[^`]*`|\]\([^)]*\)", " ", anatomy.prose(json.loads(path.read_text(encoding="utf-8"))))
    words = set(snowballstemmer.stemmer("english").stemWords(re.findall(r"\b[a-z]{8,}\b", prose.lower())))
    assert len(words & known) > 0.9 * len(words) > 0, sorted(words - known)


# What a page looks like, asked of the browser. Each finding is a list that should be empty.
LOOK = r"""
async () => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const undrawn = () => all(".mermaid").filter((e) => !e.querySelector("svg") || e.querySelector(".error-icon"));
  await window.MathJax?.startup?.promise;
  for (let i = 0; i < 100 && undrawn().length; i++) await new Promise((done) => setTimeout(done, 100));
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) if (walker.currentNode.data.trim()) texts.push(walker.currentNode);
  const prose = texts.filter((t) => !t.parentElement.closest("pre, code, script, style, mjx-container"));

  const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    const own = numbers(getComputedStyle(element).backgroundColor);
    return own[3] !== 0 ? own : element.parentElement ? behind(element.parentElement) : [255, 255, 255];
  };
  const contrast = (element) => {
    const [a, b] = [light(numbers(getComputedStyle(element).color)), light(behind(element))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const faint = (theme) => {
    document.documentElement.dataset.theme = theme;
    const hints = "svg, .headerlink, .search-button__kbd-shortcut";
    const shown = texts.map((t) => t.parentElement).filter((e) => e.checkVisibility() && !e.closest(hints));
    return [...new Set(shown)].filter((e) => contrast(e) < 4.5)
      .map((e) => `${theme} ${contrast(e).toFixed(2)} ${e.tagName}.${e.className}: ${e.textContent.slice(0, 40)}`);
  };
  const dark = document.documentElement.dataset.theme === "dark" ? [] : [document.documentElement.dataset.theme];
  return {
    "a raw equation": prose.map((t) => t.data).filter((t) => /\$[^$\n]+\$|\\[([]|\\[a-z]{2,}/i.test(t)),
    "mathematics not set": all(".math").filter((e) => !e.querySelector("mjx-container")).map((e) => e.textContent),
    "a mistake in TeX": all("mjx-merror, mjx-container [style*=red]").map((e) => e.closest(".math").outerHTML),
    "a diagram not drawn": undrawn().map((e) => e.textContent),
    "not dark": dark,
    "faint in the light": faint("light"),
    "faint in the dark": faint("dark"),
    "wider than the window": document.documentElement.scrollWidth > innerWidth ? [document.title] : [],
  };
}
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves the site without a line for each request."""

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def seen(site):
    """Every page opened once in headless Chromium: findings by kind, excerpts of a search, a node of each diagram.

    The browser is closed again here: as long as it is open, its event loop is in the way of other tests' loops.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    if not CHROMIUM:
        pytest.skip("no chromium or google-chrome is installed")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site.folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = f"http://127.0.0.1:{server.server_port}/"
    found, nodes = {}, []

    def note(kind, what):
        found.setdefault(kind, []).append(what)

    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(color_scheme="dark", viewport={"width": 1280, "height": 800})
        page.on("console", lambda m: m.type in ("error", "warning") and note("an error", f"{page.url}: {m.text}"))
        page.on("pageerror", lambda error: note("an error", f"{page.url}: {error}"))
        page.on("request", lambda r: r.url.startswith((home, "data:")) or note("another host", f"{page.url}: {r.url}"))
        page.on("requestfailed", lambda r: note("a failed request", f"{page.url}: {r.url}"))
        page.on("response", lambda r: r.status >= 400 and note("a failed request", f"{page.url}: {r.url}"))
        for name in site.pages:
            page.goto(home + name, wait_until="networkidle")
            for kind, what in page.evaluate(LOOK).items():
                found.setdefault(kind, []).extend(f"{name}: {w}" for w in what)
            nodes += [d.locator(".node").first.screenshot() for d in page.locator(".mermaid:has(.node)").all()]
        page.goto(home + "search.html?q=posterior", wait_until="networkidle")
        page.get_by_text("Search finished").wait_for()
        results = page.locator("#search-results li").all_inner_texts()
        browser.close()
    server.shutdown()
    return SimpleNamespace(found=found, nodes=nodes, results=results)


@pytest.mark.parametrize("kind", ["an error", "another host", "a failed request"])
def test_a_browser_gets_all_it_asks_for_from_the_site(seen, kind):
    assert seen.found.get(kind, []) == []


@pytest.mark.parametrize("kind", ["a raw equation", "mathematics not set", "a mistake in TeX", "a diagram not drawn"])
def test_equations_and_diagrams_are_drawn(seen, kind):
    assert seen.found[kind] == []


@pytest.mark.parametrize("kind", ["not dark", "faint in the light", "faint in the dark", "wider than the window"])
def test_pages_can_be_read_light_and_dark(seen, kind):
    assert seen.found[kind] == []


def test_the_words_in_a_diagram_can_be_read_in_the_dark(seen):
    assert seen.nodes
    for png in seen.nodes:  # the colours are those of a filter, which no style tells: look at the pixels
        picture = Image.open(io.BytesIO(png)).convert("RGB")
        lights = [light(colour) for _, colour in sorted(picture.getcolors(100_000), reverse=True)]
        assert max(ratio(lights[0], other) for other in lights) > 4.5


def light(colour):
    red, green, blue = [(v / 255 + 0.055) ** 2.4 / 1.055**2.4 if v > 10 else v / 255 / 12.92 for v in colour]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def ratio(a, b):
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)


def test_a_search_finds_pages_and_shows_no_raw_equation(seen):
    assert len(seen.results) > 5 and any("Measuring a VAE" in result for result in seen.results)
    assert not re.search(r"\\[(\[a-z]", "".join(seen.results))
