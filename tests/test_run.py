"""notebooks/run.py on small made-up notebooks."""

import contextlib
import io
import json
import re
from types import SimpleNamespace

import made_up
import nbformat
import pytest
import run


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """One run over a good, a failing and another good notebook."""
    root = tmp_path_factory.mktemp("with spaces") / "notebooks"
    made_up.write(root, "01_good", "## A dot & more", made_up.PICTURE, made_up.REPORT)
    made_up.write(root, "02_bad", "# Prose\n\nof two", "\n# why\nraise KeyError('no such key')", "never = 'reached'")
    made_up.write(root, "03_here", "from pathlib import Path\nprint(Path.cwd().name, profile, seed)")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = run.main(["--profile", "ci", "--seed", "3"], folder=root, build=root.parent / "build")
    build = root.parent / "build" / "ci"
    return SimpleNamespace(code=code, out=out.getvalue(), build=build, page=(build / "index.html").read_text())


def printed(copy):
    cells = nbformat.read(copy, as_version=4).cells
    return "".join(o.get("text", "") for cell in cells for o in cell.get("outputs", []))


def test_a_failure_does_not_stop_the_others_and_names_its_cell(ran):
    assert ran.code == 1
    assert re.search(r"\[2/3\] 02_bad .*FAILED\n\s+cell 4, `# why`: KeyError: 'no such key'", ran.out)
    assert re.search(r"\[3/3\] 03_here .* s  ok", ran.out)
    assert "2 of 3 notebooks ran without an error." in ran.out


def test_a_notebook_runs_in_its_own_folder_with_the_parameters(ran):
    assert printed(ran.build / "03_here.ipynb") == "notebooks ci 3\n"


def test_the_copy_of_a_failed_notebook_is_kept_and_nothing_half_written(ran):
    assert "no such key" in (ran.build / "02_bad.ipynb").read_text()
    assert sorted(p.name for p in ran.build.iterdir()) == [
        "01_good.ipynb",
        "02_bad.ipynb",
        "03_here.ipynb",
        "index.html",
    ]


def test_the_report_is_read_back(ran):
    report = run.report_of(run.read(ran.build / "01_good.ipynb"))
    assert report["metrics"] == {"nll": 97.5} and report["seed"] == 3 and report["profile"] == "ci"
    assert re.search(r"01_good +nll +97.5 .*no band yet", ran.out)


def test_later_reports_are_merged():
    def cell(**metrics):
        output = {"data": {"application/vnd.cvae.report+json": {"seed": 0, "metrics": metrics}}}
        return {"cell_type": "code", "outputs": [output]}

    merged = run.report_of(SimpleNamespace(cells=[cell(a=1.0, b=2.0), {"cell_type": "markdown"}, cell(b=3.0)]))
    assert merged == {"seed": 0, "metrics": {"a": 1.0, "b": 3.0}}
    assert run.report_of(SimpleNamespace(cells=[])) == {}


def test_the_page_holds_everything_itself(ran):
    assert re.findall(r'src="(?!data:)|<link|<script|url\(|https?://', ran.page) == []
    assert 'alt="01_good, 1: A dot &amp; more"' in ran.page and "data:image/png;base64," in ran.page
    assert "color-scheme: light dark" in ran.page and not re.search(r"#[0-9a-f]{3,6}\b|rgb", ran.page)
    assert "KeyError: &#x27;no such key&#x27;" in ran.page and ">97.5<" in ran.page


def test_bundled_data_is_said_in_the_summary():
    def outcome(profile):
        report = {"notebook": "04_x", "profile": profile, "seed": 0, "source": "mnist_5k", "metrics": {"a": 1.0}}
        return run.Outcome("04_x", report=report)

    assert "the 5,000 bundled digits (the full set could not be had)" in run.summary([outcome("laptop")])
    assert "the 5,000 bundled digits (profile ci always uses them)" in run.summary([outcome("ci")])


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """Two notebooks, and an `execute` that fails the test if anything is run."""
    made_up.write(tmp_path, "01_a")
    made_up.write(tmp_path, "04_b", "extra = 1")
    monkeypatch.setattr(run, "execute", lambda *a: pytest.fail("something was run"))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nb", "03"], "got 03; allowed are 01_a, 04_b"),
        (["--nb", "01", "--nb", "x"], "got x; allowed are 01_a, 04_b"),
        (["--profile", "huge"], "profile: got 'huge'; allowed are ci, laptop, full"),
        (["-p", "profile", "huge"], "profile: got 'huge'; allowed are ci, laptop, full"),
        (["-p", "sed", "3"], "parameter: got sed; 01_a has profile, seed"),
        (["--nb", "4", "-p", "extra", "3"], "parameter: got extra; 04_b has profile, seed"),
        (["--seed", "-1"], "seed: got -1"),
        (["--seed", "one"], "seed: got 'one'"),
        (["-p", "seed", "1.5"], "seed: got 1.5"),
    ],
)
def test_a_bad_request_is_refused_in_one_line_before_anything_runs(arguments, message, notebooks, capsys):
    assert run.main(arguments, folder=notebooks, build=notebooks / "build") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (notebooks / "build").exists()


def test_a_misspelt_parameter_of_a_later_notebook_stops_the_first_too(notebooks, capsys):
    made_up.write(notebooks, "09_untagged", parameters=False)
    assert run.main([], folder=notebooks, build=notebooks / "build") == 2
    assert "09_untagged.ipynb: no cell is tagged 'parameters'" in capsys.readouterr().err


def test_an_empty_folder_is_refused(tmp_path, capsys):
    assert run.main([], folder=tmp_path, build=tmp_path / "build") == 2
    assert "there is none" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["4", "04", "04_b", "04_b.ipynb"])
def test_a_notebook_is_found_by_number_or_name(given, notebooks):
    assert [path.stem for path in run.find([given], notebooks)] == ["04_b"]


def test_a_kernel_that_dies_is_traced_to_its_cell(tmp_path):
    path = made_up.write(tmp_path, "01_dies", "import os", "os._exit(3)", "x = 1")
    outcome = run.execute(path, tmp_path / "build" / "01_dies.ipynb", {"profile": "ci"})
    assert outcome.error.startswith("cell 4, `os._exit(3)`: ") and outcome.copy.exists()


def test_values_are_read_as_python_or_left_as_words():
    assert [run.literal(word) for word in ("3", "0.5", "True", "ci", "[1, 2]")] == [3, 0.5, True, "ci", [1, 2]]


def test_bands_of_the_summary_come_from_baselines(tmp_path, monkeypatch):
    bands = {"04_x": {"ci": {"mnist_5k": {"nll": {"low": 1.0, "high": 2.0}}}}}
    (tmp_path / "baselines.json").write_text(json.dumps(bands))
    monkeypatch.chdir(tmp_path)
    report = {"notebook": "04_x", "profile": "ci", "seed": 0, "source": "mnist_5k", "metrics": {"nll": 3.0}}
    assert re.search(r"04_x +nll +3 +1 to 2 +OUTSIDE", run.summary([run.Outcome("04_x", report=report)]))
