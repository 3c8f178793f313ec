"""Sphinx's settings for the site. `build.py` calls it; nothing here executes a notebook or needs a network."""

import html
import importlib.util
import shutil
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive

project = "Conditional variational autoencoders, step by step"
html_title = project
author = ""
extensions = ["myst_nb", "sphinx.ext.mathjax"]
include_patterns = [
    *("index.md", "README.md", "CONTRIBUTING.md", "notebooks/*.md", "notebooks/results/tables.md", "tests/README.md"),
    *("notebooks/[0-9][0-9]_*.ipynb", "notebooks/solutions/[0-9][0-9]_*.ipynb"),
]

nb_execution_mode = "off"  # the outputs are the committed ones
nb_merge_streams = True  # what a cell prints is one block
suppress_warnings = ["mystnb.unknown_mime_type"]  # a report is stored as data and as HTML; HTML is shown
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3  # a link may lead to a heading, [so](03_measuring_a_vae.ipynb#priors)
myst_fence_as_directive = ["mermaid"]

html_theme = "sphinx_book_theme"
html_theme_options = {"show_toc_level": 2, "use_fullscreen_button": False}
html_context = {"default_mode": "auto"}  # light or dark as the reader's system, until the button is used
html_static_path = ["static"]
html_favicon = "static/icon.svg"  # without one every browser asks for a file that is not there
html_css_files = ["site.css"]
html_sourcelink_suffix = ""  # the download of a notebook is called .ipynb, not .ipynb.txt
html_use_index = html_show_copyright = html_show_sphinx = False

# All of TeX in one file: nothing is left to fetch but fonts. The menu would offer to load what is not there.
mathjax_path = "mathjax/tex-chtml-full.js"
mathjax3_config = {"options": {"enableMenu": False}, "chtml": {"scale": 0.9}}


class Mermaid(Directive):
    """A diagram's text, which the browser draws: only there are its fonts and the reader's theme known."""

    has_content = True

    def run(self):
        """Keep the text as it is."""
        text = html.escape("\n".join(self.content))
        return [nodes.raw("", f'<pre class="mermaid">{text}</pre>', format="html")]


def folder_of(package):
    """Where a package lies, without importing it (the name of one has hyphens)."""
    return Path(importlib.util.find_spec(package).origin).parent


def copy_scripts(app, error):
    """Put MathJax, its fonts and Mermaid beside the pages, out of the packages that carry them."""
    mathjax, static = folder_of("sphinx-mathjax-offline") / "static" / "mathjax", Path(app.outdir) / "_static"
    fonts = Path("output", "chtml", "fonts", "woff-v2")
    shutil.copytree(mathjax / fonts, static / "mathjax" / fonts, dirs_exist_ok=True)
    shutil.copy2(mathjax / "tex-chtml-full.js", static / "mathjax")
    shutil.copy2(folder_of("mermaidx") / "assets" / "mermaid.js", static)


def add_scripts(app, page, template, context, doctree):
    """Load a script only where it is used; Mermaid is large."""
    if page == "search":
        app.add_js_file("search.js", loading_method="defer")
    if 'class="mermaid"' in context.get("body", ""):
        app.add_js_file("mermaid.js", loading_method="defer")
        app.add_js_file("diagrams.js", loading_method="defer")


def setup(app):
    """Register what stands above."""
    app.add_directive("mermaid", Mermaid)
    app.connect("build-finished", copy_scripts)
    app.connect("html-page-context", add_scripts)
