#!/usr/bin/env python3
"""Build the site from the committed notebooks: offline, and without executing anything.

    python site/build.py    # into build/site/; open index.html there

Sphinx reads one folder, so everything that a page may link to is copied to build/site-source/, laid out as in the
repository: a link between notebooks becomes one between pages, a link to code becomes a download.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from sphinx.cmd import build as sphinx

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


def stage(source: Path) -> None:
    """Copy the repository's own files to `source`."""
    shutil.rmtree(source, ignore_errors=True)
    for folder in ("cvae_lib", "notebooks", "tests"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    for path in [*ROOT.iterdir(), HERE / "index.md"]:
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, source)


def main(build: Path = ROOT / "build") -> int:
    """Stage, then call Sphinx; its exit status, not zero after any warning."""
    source, site = build / "site-source", build / "site"
    shutil.rmtree(site, ignore_errors=True)  # a page whose notebook was renamed would stay
    stage(source)
    strict = ["--fail-on-warning", "--keep-going", "--quiet"]
    failed = sphinx.main([*strict, "-c", str(HERE), "-d", str(source / ".doctrees"), str(source), str(site)])
    print(f"not built: {site}" if failed else f"open {site / 'index.html'}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
