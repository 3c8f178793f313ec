"""notebooks/results.py: bands from seeds, resuming, README's tables."""

import json
import statistics

import made_up
import pytest
import results
import run
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A notebooks folder whose notebook 01_a reports nll = 100 + seed, without any kernel; what ran is listed."""
    folder = tmp_path / "notebooks"
    made_up.write(folder, "01_a", "x = 1", "# prose")
    place = type(
        "Place", (), {"folder": folder, "ran": [], "source": "mnist", "fails": set(), "build": tmp_path / "build"}
    )()

    def execute(path, copy, parameters):
        place.ran.append((parameters["profile"], parameters["seed"]))
        report = {"notebook": path.stem, "source": place.source, "protocol": "ten epochs", **parameters}
        report["metrics"] = {"nll": 100.0 + parameters["seed"], "exact": 2.0}
        failed = parameters["seed"] in place.fails
        return run.Outcome(path.stem, seconds=1.0, error="cell 3" if failed else "", report=report)

    monkeypatch.setattr(run, "execute", execute)
    place.main = lambda *argv: results.main(list(argv), folder=folder, build=place.build)
    place.stored = lambda: json.loads((folder / "results" / "01_a.json").read_text())["01_a"]
    return place


def test_a_band_is_the_mean_plus_and_minus_three_deviations():
    values = [96.0, 97.0, 98.0, 99.0, 100.0]
    band = results.band(values)
    assert band["mean"] == 98.0 and band["seeds"] == 5
    assert band["sd"] == pytest.approx(2.5**0.5)
    assert (band["low"], band["high"]) == (pytest.approx(98 - 3 * 2.5**0.5), pytest.approx(98 + 3 * 2.5**0.5))


@given(st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=10))
def test_a_band_is_never_wider_and_holds_the_runs_it_was_made_from(values):
    band = results.band(values)
    half = (band["high"] - band["low"]) / 2
    rounding = 1e-6 * abs(statistics.mean(values))
    assert half <= max(3 * statistics.stdev(values), rounding) * (1 + 1e-9) + 1e-9
    assert all(band["low"] - 1e-9 <= value <= band["high"] + 1e-9 for value in values)  # true up to ten values


def test_equal_numbers_get_a_band_for_rounding_only():
    band = results.band([3.0] * 5)
    assert band["high"] - band["low"] == pytest.approx(6e-6)
    assert results.band([0.0] * 5)["high"] == 0.0


def test_a_band_of_too_few_seeds_is_refused():
    with pytest.raises(ValueError, match="got 4; a band needs at least 5"):
        results.band([1.0] * 4)


def test_runs_are_stored_and_not_run_again(place):
    assert place.main("--seed", "0", "--seed", "2") == 0
    assert place.main() == 0
    assert place.ran == [("laptop", seed) for seed in (0, 2, 1, 3, 4)]
    entry = place.stored()["laptop"]
    assert [r["seed"] for r in entry["runs"]] == [0, 1, 2, 3, 4] and entry["runs"][3]["metrics"]["nll"] == 103.0
    assert entry["protocol"] == "ten epochs" and entry["source"] == "mnist"
    assert {"device", "versions", "date"} <= set(entry)


def test_an_interrupted_run_goes_on_where_it_stopped(place):
    place.fails = {1}
    assert place.main() == 1
    place.fails = set()
    assert place.main() == 0
    assert place.ran[5:] == [("laptop", 1)]


def test_changed_code_runs_again_and_changed_prose_does_not(place):
    place.main("--seed", "0")
    path = place.folder / "01_a.ipynb"
    path.write_text(path.read_text().replace("# prose", "# other prose"))
    place.main("--seed", "0")
    assert len(place.ran) == 1
    path.write_text(path.read_text().replace("x = 1", "x = 2"))
    place.main("--seed", "1")
    assert len(place.ran) == 2
    assert [r["seed"] for r in place.stored()["laptop"]["runs"]] == [1], "runs of other code must not stay"


def test_force_runs_what_is_stored(place):
    place.main("--seed", "0", "--seed", "1")
    place.main("--seed", "0", "--force")
    assert place.ran == [("laptop", 0), ("laptop", 1), ("laptop", 0)]
    assert [r["seed"] for r in place.stored()["laptop"]["runs"]] == [0, 1]


def test_runs_of_another_library_are_told_and_make_no_band_with_newer_ones(place, monkeypatch, capsys):
    place.main("--baselines")
    bands = (place.folder / "baselines.json").read_text()
    monkeypatch.setattr(results, "library_hash", lambda: "newer")
    place.main("--profile", "ci", "--seed", "3", "--force")
    assert results.libraries(place.stored()["ci"]).count("newer") == 1 and place.stored()["ci"]["library"] == "newer"
    capsys.readouterr()
    place.main("--baselines")
    said = capsys.readouterr().out
    assert said.count("of an older cvae_lib (--force") == 2 and said.count("more than one cvae_lib: no new bands") == 1
    assert (place.folder / "baselines.json").read_text() == bands
    place.main("--baselines", "--force")
    assert {*results.libraries(place.stored()["ci"])} == {"newer"}
    capsys.readouterr()
    place.main("--baselines")
    assert "cvae_lib" not in capsys.readouterr().out


def test_runs_on_other_data_are_not_mixed_in(place, capsys):
    place.main("--seed", "0")
    place.source = "mnist_5k"
    assert place.main("--seed", "1") == 1
    assert "data was mnist_5k, the stored runs are on mnist" in capsys.readouterr().out
    assert [r["seed"] for r in place.stored()["laptop"]["runs"]] == [0]


def test_baselines_come_from_the_stored_seeds_of_both_profiles(place):
    assert place.main("--baselines") == 0
    assert place.ran == [("ci", n) for n in range(10)] + [("laptop", n) for n in range(5)]
    bands = json.loads((place.folder / "baselines.json").read_text())["01_a"]
    assert bands["laptop"]["mnist"]["nll"] == results.band([100.0, 101.0, 102.0, 103.0, 104.0])
    assert bands["ci"]["mnist"]["nll"]["seeds"] == 10
    assert place.main("--baselines") == 0 and len(place.ran) == 15


def test_old_bands_stay_where_seeds_are_missing(place, capsys, monkeypatch):
    place.main("--profile", "ci", "--seed", "0")
    place.main("--baselines", "--no-run")
    assert "5 needed: no new bands" in capsys.readouterr().out
    place.main("--baselines")
    before = (place.folder / "baselines.json").read_text()
    place.fails = {1, 2, 3, 4, 5, 6, 7, 8, 9}
    monkeypatch.setattr(results, "library_hash", lambda: "newer")
    assert place.main("--baselines", "--force") == 1
    assert "more than one cvae_lib: no new bands" in capsys.readouterr().out
    assert (place.folder / "baselines.json").read_text() == before


def test_fresh_seeds_try_the_bands_and_make_none(place, capsys, monkeypatch):
    monkeypatch.setattr(results.notebook, "folder", lambda: place.folder)
    place.main("--baselines", "--seed", *"0 --seed 1 --seed 2 --seed 3 --seed 4".split())
    before = place.stored(), (place.folder / "baselines.json").read_text()
    monkeypatch.setattr(results, "FRESH", [2, 7])  # nll 102 lies in 102 ± 4.74, 107 does not
    assert place.main("--fresh", "--profile", "ci") == 0
    assert place.ran[-2:] == [("ci", 2), ("ci", 7)]
    said = capsys.readouterr().out
    assert "3 of 4 values of fresh seeds inside their bands: 75.0%" in said and "107" in said.splitlines()[-2]
    assert (place.stored(), (place.folder / "baselines.json").read_text()) == before


def test_readme_gets_the_tables_between_its_markers(place):
    readme = place.folder.parent / "README.md"
    readme.write_text("above\n<!-- results:begin -->\nold\n<!-- results:end -->\nbelow\n")
    (place.folder / "results").mkdir()
    (place.folder / "results" / "published.json").write_text(json.dumps({"01_a": {"nll": "86.76 (a paper)"}}))
    place.main()
    text, everything = readme.read_text(), (place.folder / "results" / "tables.md").read_text()
    row = "| 01_a | nll | 102 ± 1.6 (5 seeds) | – | 86.76 (a paper) |"
    assert row in text and "ten epochs" in text
    assert row in everything and "| 01_a | exact |" in everything and "| 01_a | exact |" not in text
    assert text.startswith("above\n<!-- results:begin -->\n") and text.endswith("<!-- results:end -->\nbelow\n")
    assert "old" not in text
    place.main("--no-run")
    assert readme.read_text() == text


@pytest.mark.parametrize("options, kept", [((), True), (("--force",), False)])
def test_a_stored_run_leaves_no_checkpoint_behind_and_force_starts_anew(place, options, kept, monkeypatch):
    checkpoint = place.build / "checkpoints" / "full" / "seed-0" / "01_a" / "vae.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    execute, seen = results.run.execute, []
    monkeypatch.setattr(results.run, "execute", lambda *args: seen.append(checkpoint.exists()) or execute(*args))
    place.fails = {0}
    place.main("--profile", "full", "--seed", "0")
    assert seen == [True] and checkpoint.exists(), "an interrupted training must be able to go on"
    place.fails = set()
    place.main("--profile", "full", "--seed", "0", *options)
    assert seen == [True, kept] and not checkpoint.exists()


def test_a_bad_request_is_refused(place, capsys):
    assert place.main("--profile", "huge") == 2
    assert place.main("--nb", "9") == 2
    errors = capsys.readouterr().err
    assert "profile: got 'huge'" in errors and "notebook: got 09; allowed are 01_a" in errors
    assert not place.ran


def test_the_library_hash_follows_code_and_not_docstrings(tmp_path):
    source = tmp_path / "a.py"
    hashes = []
    for text in ('"""Old."""\nx = 1', '"""New."""\nx = 1  # why', "x = 2"):
        source.write_text(text)
        hashes.append(results.library_hash(tmp_path))
    assert hashes[0] == hashes[1] != hashes[2]


def test_fresh_seeds_lie_inside_the_committed_bands():
    """Stored by `make fresh PROFILE=ci`: five seeds of each notebook that made no band."""
    rows = results.try_bands(run.find([]), "ci", run.HERE)
    assert {(stem, seed) for stem, seed, _ in rows} == {(p.stem, s) for p in run.find([]) for s in results.FRESH}
    assert all(row.band for _, _, row in rows)
    assert sum(row.verdict == "inside" for _, _, row in rows) >= 0.95 * len(rows)
