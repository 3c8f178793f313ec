"""cvae_lib.notebook: profiles, a reproducible start, data by profile, reports against bands."""

import json
import math

import numpy as np
import pytest
import torch

from cvae_lib import data, notebook, table

BANDS = {"04_cvae": {"laptop": {"mnist": {"nll": {"low": 95.0, "high": 97.0}}}}}


@pytest.fixture
def shown(monkeypatch):
    """What `report` displays, collected."""
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: outputs.append(bundle))
    return outputs


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A laptop run in a folder with one band, on made-up data."""
    (tmp_path / "baselines.json").write_text(json.dumps(BANDS))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, "load", lambda name, split: data.Data(torch.zeros(3, 1, 2, 2), None, f"{name}: made up"))
    return notebook.start("04_cvae", profile="laptop", seed=0)


def in_profile(run, profile):
    return notebook.start(run.name, profile=profile, seed=0)


def test_profile_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("CVAE_PROFILE", raising=False)
    assert notebook.profile() == "laptop"
    monkeypatch.setenv("CVAE_PROFILE", "full")
    assert notebook.profile() == "full"


@pytest.mark.parametrize("name", ["huge", "CI", ""])
def test_an_unknown_profile_is_refused(name, monkeypatch):
    with pytest.raises(ValueError, match="profile.*ci, laptop, full"):
        notebook.start("04_cvae", profile=name, seed=0)
    if name:
        monkeypatch.setenv("CVAE_PROFILE", name)
        with pytest.raises(ValueError, match=f"got '{name}'"):
            notebook.profile()


@pytest.mark.parametrize("seed", [-1, 1.5, True, "0", 2**32, None])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(ValueError, match="seed: got"):
        notebook.start("04_cvae", profile="ci", seed=seed)


def test_start_makes_random_numbers_repeat():
    def drawn(seed):
        notebook.start("04_cvae", profile="ci", seed=seed)
        return torch.rand(2).tolist(), np.random.rand(2).tolist()

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


def test_start_prints_one_line_without_a_path(capsys):
    notebook.start("04_cvae", profile="ci", seed=7)
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert "profile ci, seed 7" in printed and "torch" in printed and "/" not in printed


@pytest.mark.parametrize(
    ("strict", "ci", "expected"),
    [(None, None, False), ("1", None, True), ("0", "true", False), (None, "true", True), (None, "false", False)],
)
def test_strict_is_set_by_its_variable_or_by_ci(strict, ci, expected, monkeypatch):
    for variable, value in (("CVAE_STRICT", strict), ("CI", ci)):
        monkeypatch.delenv(variable, raising=False)
        if value is not None:
            monkeypatch.setenv(variable, value)
    assert notebook.strict() is expected


def test_ci_loads_the_bundled_digits_and_says_so_once(run, capsys):
    small = in_profile(run, "ci")
    capsys.readouterr()
    sources = [small.load("mnist", split).source for split in ("train", "test")]
    assert sources == ["mnist_5k: made up"] * 2
    assert capsys.readouterr().out.count("stands in for mnist") == 1
    assert small.load("fashion_mnist", "train").source == "mnist_5k: made up"
    assert small.load("sprites", "train").source == "sprites: made up"
    assert small.source == "mnist_5k+sprites"


@pytest.mark.parametrize("error, goes_on", [(data.DataError, True), (data.DamagedError, False)])
def test_what_cannot_be_had_is_replaced_by_bundled_examples_unless_a_file_is_damaged(
    run, monkeypatch, capsys, error, goes_on
):
    found = data.load

    def load(name, split):
        if name in ("fashion_mnist", "words"):
            raise error("no source answers")
        return found(name, split)

    monkeypatch.setattr(data, "load", load)
    with pytest.raises(data.DataError):
        run.load("words", "train")  # nothing stands in for it
    if not goes_on:
        with pytest.raises(error):
            run.load("fashion_mnist", "train")
        return
    capsys.readouterr()
    assert [run.load("fashion_mnist", split).name for split in ("train", "test")] == ["mnist_5k"] * 2
    said = capsys.readouterr().out
    assert said.count("stands in for fashion_mnist") == 1 and "no source answers" in said
    assert run.source == "mnist_5k"


def test_laptop_loads_what_was_asked_for(run):
    assert run.source == "none"
    assert run.load("mnist", "train").source == "mnist: made up"
    assert run.source == "mnist"


def test_a_value_inside_its_band(run, shown, monkeypatch):
    monkeypatch.setenv("CVAE_STRICT", "1")
    run.load("mnist", "test")
    run.report(protocol="dynamic binarisation", nll=96.0, new=1)
    stored = shown[0][notebook.REPORT_MIME]
    assert stored["metrics"] == {"nll": 96.0, "new": 1.0}
    assert {k: stored[k] for k in ("notebook", "profile", "seed", "source", "protocol")} == {
        "notebook": "04_cvae",
        "profile": "laptop",
        "seed": 0,
        "source": "mnist",
        "protocol": "dynamic binarisation",
    }
    assert [row.verdict for row in notebook.compare(stored)] == ["inside", "no band yet"]
    assert "95 to 97" in shown[0]["text/plain"] and "<td>inside</td>" in shown[0]["text/html"]


@pytest.mark.parametrize("value", [95.0, 97.0])
def test_the_ends_of_a_band_belong_to_it(value, run):
    report = {"notebook": "04_cvae", "profile": "laptop", "source": "mnist", "metrics": {"nll": value}}
    assert notebook.compare(report)[0].verdict == "inside"


@pytest.mark.parametrize("value", [94.99, 97.01])
def test_a_value_outside_its_band_is_marked_and_raises_when_strict(value, run, shown, monkeypatch):
    run.load("mnist", "test")
    monkeypatch.setenv("CVAE_STRICT", "0")
    run.report(nll=value)
    assert "OUTSIDE" in shown[0]["text/html"] and "OUTSIDE" in shown[0]["text/plain"]
    monkeypatch.setenv("CVAE_STRICT", "1")
    with pytest.raises(AssertionError, match=f"nll = {value}, expected 95 to 97"):
        run.report(nll=value)
    assert len(shown) == 2, "the table must be shown before the error"


def test_other_data_than_the_bands_is_not_compared(run, shown, monkeypatch):
    monkeypatch.setenv("CVAE_STRICT", "1")
    run.load("mnist_5k", "test")
    run.report(nll=300.0)
    assert "not compared: bundled data" in shown[0]["text/plain"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_metric_that_is_not_finite_is_refused(value, run, shown):
    with pytest.raises(ValueError, match="nll is (nan|inf)"):
        run.report(nll=torch.tensor(value))
    assert not shown


def test_a_report_without_metrics_is_refused(run):
    with pytest.raises(ValueError, match="no metrics"):
        run.report()


def test_results_are_read_from_the_notebooks_folder(run, tmp_path, monkeypatch):
    (tmp_path / "04_cvae.ipynb").write_text("{}")
    assert notebook.results("04_cvae") == {}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "04_cvae.json").write_text(json.dumps({"04_cvae": {"laptop": {"runs": []}}}))
    assert notebook.results("04_cvae") == {"laptop": {"runs": []}}
    with pytest.raises(ValueError, match="got '05_cvae'"):
        notebook.results("05_cvae")


@pytest.mark.parametrize("where", [".", "notebooks", "notebooks/solutions"])
def test_the_notebooks_folder_is_found_from_around_it(where, tmp_path, monkeypatch):
    (tmp_path / "notebooks" / "solutions").mkdir(parents=True)
    (tmp_path / "notebooks" / "baselines.json").write_text("{}")
    monkeypatch.chdir(tmp_path / where)
    assert notebook.folder() == tmp_path / "notebooks"


def test_spread_is_mean_and_sample_deviation():
    runs = [{"metrics": {"a": 1.0, "b": 5.0}}, {"metrics": {"a": 3.0}}]
    spread = notebook.spread(runs)
    assert spread["a"] == (2.0, pytest.approx(math.sqrt(2)), 2)
    assert spread["b"][0] == 5.0 and math.isnan(spread["b"][1]) and spread["b"][2] == 1


def test_a_table_as_text_and_as_markup():
    assert table.text(("name", "n"), [("a", "10"), ("long one", "2")]) == "name      n\na         10\nlong one  2"
    markup = table.markup("x < y", ("name", "n"), [("<b>", "2")])
    assert "<caption>x &lt; y</caption>" in markup and '<th scope="row">&lt;b&gt;</th><td>2</td>' in markup
    assert "color" not in markup and "style" not in markup
    with pytest.raises(ValueError):
        table.text(("one", "two"), [("only one",)])


def test_trainings_are_kept_in_profile_full_only_and_apart(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "baselines.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    runs = [notebook.start(name, p, seed) for name, p, seed in (("a", "full", 0), ("a", "full", 1), ("b", "full", 0))]
    paths = {run.checkpoint(label) for run in runs for label in ("vae", "iwae")}
    assert len(paths) == 6 and all(path.is_relative_to(tmp_path / "build" / "checkpoints") for path in paths)
    assert notebook.start("a", "laptop", 0).checkpoint("vae") is None
