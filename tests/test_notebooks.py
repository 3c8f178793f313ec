"""Every notebook under papermill, small and with another seed; its report held to the expected bands."""

import json

import anatomy
import pytest
import run

from cvae_lib import notebook

PATHS = run.find([]) if list(run.HERE.glob("[0-9][0-9]_*.ipynb")) else []
SEED = 1  # nbval runs the committed notebooks with their own seed, 0


def outside(report):
    """The metrics of a report that are not inside a band, in words."""
    return [
        f"{metric} = {value} ({band}): {verdict}"
        for metric, value, band, verdict in rows(report)
        if verdict != "inside"
    ]


def rows(report):
    return [row.cells for row in notebook.compare(report)]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_runs_with_another_seed_and_reports_what_is_expected(path, tmp_path):
    parameters = {"profile": "ci", "seed": SEED}
    run.check_parameters(path, parameters)
    outcome = run.execute(path, tmp_path / path.name, parameters)
    assert not outcome.error, f"{path.stem}: {outcome.error}"
    report = outcome.report
    assert report, f"{path.stem} reports nothing (run.report)"
    assert (report["notebook"], report["profile"], report["seed"]) == (path.stem, "ci", SEED)
    assert not outside(report), f"{path.stem}: {outside(report)}; make baselines moves bands on purpose"
    assert not [*anatomy.of_exercises(json.loads(outcome.copy.read_text(encoding="utf-8")))]  # empty answers fail


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
@pytest.mark.parametrize("profile", ["ci", "laptop"])
def test_every_metric_has_a_band_and_every_band_its_metric(path, profile):
    committed = run.report_of(run.read(path)).get("metrics", {})
    by_source = json.loads((run.HERE / "baselines.json").read_text()).get(path.stem, {}).get(profile, {})
    assert by_source, f"{path.stem} has no bands for {profile}: make baselines"
    for source, bands in by_source.items():
        assert set(bands) == set(committed), f"{path.stem}, {profile}, {source}: make baselines, then make render"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_committed_numbers_are_inside_their_bands(path):
    report = run.report_of(run.read(path))
    assert report.get("profile") == "laptop", (
        f"{path.stem}: committed outputs are those of profile laptop (make render)"
    )
    assert not outside(report), f"{path.stem}: {outside(report)}"
