"""The repository itself: notebooks' anatomy, links, environments, addresses, lint."""

import ast
import json
import re
import subprocess
import sys
import tomllib

import anatomy
import insert
import pytest
import render
import run
import yaml
from anatomy import ROOT
from packaging.requirements import Requirement

CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("*.ipynb"))
NOTEBOOKS = CHAPTERS + SOLUTIONS
DIAGRAMS = {"02_vae": 1, "04_cvae": 2}  # Mermaid blocks: architecture; training and generation graphs
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "playwright": "playwright-python"}
# In parts, so that this file does not hold what it forbids.
HOSTS = ["py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "ana" + "conda.org", "deb" + "ian.org/debian"]
HOSTS += ["download.py" + "torch.org"]


def for_each(paths):
    ids = [
        "/".join(path.with_suffix("").parts[-2:]) if path.parent.name == "solutions" else path.stem for path in paths
    ]
    return pytest.mark.parametrize("path", paths, ids=ids)


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def tracked():
    """Every file that is in git or would be added to it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def without_pictures(path):
    """A file's text; a notebook's without its base64, in which any letters may meet. None for a binary file."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
    return re.sub(r'"image/png": "[^"]*"', "", text) if path.suffix == ".ipynb" else text


def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements():
    """Everything that `make` installs, as bounds."""
    project = pyproject()
    wanted = project["dependencies"] + [r for group in project["optional-dependencies"].values() for r in group]
    return [Requirement(line) for line in wanted]


def local_links(text):
    """The targets of Markdown and HTML links that are files of this repository."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    found = re.findall(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    return [t.split("#")[0] for t in found if not re.match(r"(?:[a-z]+:|#)", t)]


def test_there_are_notebooks():
    assert CHAPTERS, "no notebook is in notebooks/"


@for_each(CHAPTERS)
def test_a_notebook_keeps_to_its_anatomy(path):
    faults = anatomy.faults(load(path), path.stat().st_size)
    assert not faults, f"{path.name}:\n- " + "\n- ".join(faults)


@for_each(CHAPTERS)
def test_every_exercise_has_a_solution_that_passes_and_a_wrong_answer_that_is_refused(path):
    solutions = run.solution(path)
    assert solutions.exists(), f"{path.stem} has no solutions/{path.name}"
    faults = anatomy.faults_of_solutions(load(solutions), solutions.stat().st_size, load(path))
    code = (path.parent / "checks" / f"{path.stem}.py").read_text(encoding="utf-8")
    faults += anatomy.of_checks(code, load(path))
    assert not faults, f"solutions/{path.name}:\n- " + "\n- ".join(faults)


@for_each(NOTEBOOKS)
def test_no_public_name_of_the_library_is_defined_again(path):
    code = "\n".join(anatomy.source(cell) for cell in anatomy.code_cells(load(path)))
    again = anatomy.definitions(re.sub(r"^[%!].*$", "", code, flags=re.M)) & anatomy.library_names()
    assert not again, f"{path.name} defines {sorted(again)}, which cvae_lib has: import it, or name it otherwise"


@for_each(CHAPTERS)
def test_a_notebook_is_started_under_its_own_name(path):
    code = "\n".join(anatomy.source(cell) for cell in anatomy.code_cells(load(path)))
    assert re.search(rf"start\(\s*\"{path.stem}\"", code), f'{path.name}: notebook.start("{path.stem}", ...) is missing'


@pytest.mark.parametrize("stem", DIAGRAMS)
def test_diagrams_stand_where_they_belong(stem):
    blocks = anatomy.prose(load(ROOT / "notebooks" / f"{stem}.ipynb")).count("```mermaid")
    assert blocks >= DIAGRAMS[stem], f"{stem}: {blocks} Mermaid blocks, {DIAGRAMS[stem]} wanted"


def test_every_notebook_is_in_the_table_of_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    missing = [path.name for path in CHAPTERS if f"notebooks/{path.name}" not in rows]
    assert not missing, f"README.md's table has no row that links {', '.join(missing)}"


def test_the_results_in_the_readme_are_the_stored_ones():
    import results

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = insert.part(text, "results")
    assert found, "README.md has no <!-- results:begin --> ... <!-- results:end -->"
    folder = ROOT / "notebooks"
    everything = (folder / "results" / "tables.md").read_text(encoding="utf-8")
    same = found[2] == results.tables(folder, chosen=True)
    same &= everything == f"{results.HEADING}\n{results.tables(folder, chosen=False)}"
    assert same, "README.md or results/tables.md differs from notebooks/results/: python notebooks/results.py --no-run"


def test_what_the_readme_shows_is_reported_by_its_notebook():
    folder = ROOT / "notebooks" / "results"
    for stem, metrics in json.loads((folder / "published.json").read_text(encoding="utf-8")).items():
        stored = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))[stem]
        reported = {metric for entry in stored.values() for run in entry["runs"] for metric in run["metrics"]}
        assert set(metrics) <= reported, f"published.json: {stem} does not report {sorted(set(metrics) - reported)}"


@for_each(sorted(ROOT.glob("*.md")) + sorted((ROOT / "notebooks").glob("*.md")) + NOTEBOOKS)
def test_local_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8") if path.suffix == ".md" else anatomy.prose(load(path))
    broken = [link for link in local_links(text) if link and not (path.parent / link).exists()]
    assert not broken, f"{path.name} links {', '.join(broken)}, which is not there"


def test_links_are_found():
    text = 'see [a](b.md), ![c](d.png "title"), [web](https://x.y/z), [here](#part), <img src="e.png">, [f](g.md#h)'
    assert sorted(local_links(text + "\n```\n[no](code.md)\n```")) == ["b.md", "d.png", "e.png", "g.md"]


def test_the_speeds_in_the_readme_are_the_measured_ones():
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    stored = load(ROOT / "notebooks" / "bench.json")
    bench = stored["cpu"]
    loops, last = bench["speed"]["loops"], bench["nll"]["curve"][-1]
    ratio = {name: row["times the textbook loop"] for name, row in loops.items()}
    assert f"{ratio['fit, batch 128']:.1f} times the tutorial loop's images a second at batch 128" in text
    assert f"{ratio['fit, batch 512, bf16 products']:.1f} times at batch 512 with bf16 products" in text
    assert f"in 1/{bench['speed']['quality']['ratio']:.1f} of its time" in text
    assert f"{last['NLL, nats']:.2f} nats (5,000 samples) in {last['seconds of training']:.0f} s" in text
    assert last["samples"] == 5000
    assert f"a redraw takes {bench['redraw']['median, ms']:.1f} ms in the kernel" in text
    assert ("no run on a GPU has been stored yet" in text) == ("cuda" not in stored)


def test_conda_users_get_the_same_bounds():
    *lines, by_pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = {Requirement(line).name: Requirement(line).specifier for line in lines + by_pip["pip"]}
    wanted = {CONDA_NAMES.get(r.name, r.name): r.specifier for r in requirements()}
    wanted |= {"python": Requirement("python" + pyproject()["requires-python"]).specifier}
    conda.pop("pip")
    assert conda == wanted, "environment.yml and pyproject.toml differ"


def test_every_dependency_is_pinned_within_its_bounds():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines), "names and versions only"
    pins = {name.lower().replace("_", "-"): version for name, version in (line.split("==") for line in lines)}
    outside = [str(r) for r in requirements() if pins.get(r.name) not in r.specifier or r.name not in pins]
    assert not outside, f"constraints.txt has no version that fits {outside}"


def test_the_licence_is_named_alike():
    assert pyproject()["license"] == "MIT" and (ROOT / "LICENSE").read_text().startswith("MIT License")


def test_the_library_needs_no_torchvision():
    code = """
import importlib, pkgutil, sys
sys.modules["torchvision"] = None
import cvae_lib
names = [m.name for m in pkgutil.walk_packages(cvae_lib.__path__, "cvae_lib.")]
for name in names: importlib.import_module(name)
assert {"cvae_lib.data", "cvae_lib.models", "cvae_lib.notebook"} <= set(names), names
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check", "--diff"]], ids=["check", "format"])
def test_ruff_finds_nothing(arguments):
    command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\nmake lint shows the same"


def test_no_address_of_a_registry_and_no_path_of_a_machine():
    found = []
    for path in tracked():
        for number, line in enumerate((without_pictures(path) or "").splitlines(), start=1):
            if anatomy.MACHINE_PATH.search(line) or any(host in line for host in HOSTS):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("line", ["cd /ho" + "me/me/cvae", 'open("/tm' + 'p/x")'])
def test_a_machine_path_is_seen(line):
    assert anatomy.MACHINE_PATH.search(line)
    assert not anatomy.MACHINE_PATH.search("see notebooks/ho" + "me/me, ./tm" + "p/x")


def test_files_stay_short():
    files = [*(ROOT / "cvae_lib").rglob("*.py"), *(ROOT / "notebooks").glob("*.py")]
    long = [f"{p.relative_to(ROOT)}: {n}" for p in files if (n := len(p.read_text().splitlines())) > 250]
    assert not long, f"over 250 lines: {', '.join(long)}"


def imports():
    """The modules of cvae_lib, packages as one, with those that each imports."""
    found = {}
    for path in sorted((ROOT / "cvae_lib").rglob("*.py")):
        importer = path.relative_to(ROOT / "cvae_lib").parts[0].removesuffix(".py")
        named = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "cvae_lib":
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cvae_lib."):
                named.add(node.module.split(".")[1])
            elif isinstance(node, ast.Import):
                named |= {a.name.split(".")[1] for a in node.names if a.name.startswith("cvae_lib.")}
        found.setdefault(importer, set()).update(named - {importer})
    return {importer: named for importer, named in found.items() if importer != "__init__"}


def test_the_picture_of_who_imports_whom_is_true():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    drawn = set(re.findall(r"^ *(\w+) --> (\w+)$", text, re.M))
    true = {(importer, name) for importer, named in imports().items() for name in named}
    right = "\n".join(f"    {a} --> {b}" for a, b in sorted(true))
    assert drawn == true, f"CONTRIBUTING.md draws {sorted(drawn ^ true)} otherwise than it is; the picture is\n{right}"


def test_a_command_that_help_lists_exists_and_ci_calls_the_tests():
    listed = re.findall(r"^(\w+):.*##", (ROOT / "Makefile").read_text(), re.M)
    wanted = ["run", "test", "lab", "site", "render", "baselines", "results", "judges", "lint", "help"]
    assert set(wanted) <= set(listed)
    script = ROOT / ".ci" / "run"
    assert "make test" in script.read_text() and script.stat().st_mode & 0o111


def test_no_stray_notebook_lies_beside_the_numbered_ones():
    found = {p.name for folder in ("", "solutions") for p in (ROOT / "notebooks" / folder).glob("*.ipynb")}
    stray = found - {p.name for p in CHAPTERS}
    assert not stray, f"nbval would run {sorted(stray)}: a tool's left-over copy?"


@for_each(CHAPTERS)
def test_the_picture_beside_a_notebook_is_the_one_in_it(path):
    picture = render.front_picture(run.read(path))
    beside = path.with_suffix(".png")
    assert (beside.read_bytes() if beside.exists() else None) == picture, f"{beside.name} is old: make render"
