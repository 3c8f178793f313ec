"""Checks of exercises: what they say of empty, wrong, broken and right answers."""

import pytest

from cvae_lib.exercises import checks, exercise


def doubled(f, word):
    assert f(2) == 4, f"f(2) is {f(2)}, not 4"
    assert word == {"even": "yes"}, f"the word is {word}"


RIGHT = {"f": lambda x: 2 * x, "word": {"even": "yes"}}


@pytest.fixture
def exercise_7(monkeypatch):
    monkeypatch.setenv("CVAE_STRICT", "0")
    doubled.__name__ = "exercise_7"
    return exercise(**RIGHT)(doubled)


def test_a_right_answer_passes(exercise_7, capsys):
    assert exercise_7.verdict(**RIGHT).passed
    exercise(**RIGHT)(doubled)
    assert capsys.readouterr().out.endswith("exercise 7: passed\n")


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        ({"f": None}, "empty", "`f` is empty"),
        ({"word": ...}, "empty", "`word` is empty"),
        ({"word": {"even": None}}, "empty", "`word['even']` is empty"),
        ({"f": lambda x: None}, "empty", "`f` returns nothing"),
        ({"f": lambda x: x**3}, "wrong", "f(2) is 8, not 4"),
        ({"f": lambda x: x.foo}, "raised", "it raised AttributeError"),
        ({"f": lambda x, y: x}, "raised", "it raised TypeError"),
    ],
)
def test_any_other_answer_does_not_and_is_told_why(exercise_7, capsys, change, kind, reason):
    found = exercise_7.verdict(**{**RIGHT, **change})
    assert (found.kind, found.passed) == (kind, False) and reason in found.reason
    exercise(**{**RIGHT, **change})(doubled)
    assert f"exercise 7: NOT YET: {reason}" in capsys.readouterr().out


def test_a_strict_run_stops_at_a_wrong_answer_and_goes_on_at_an_empty_one(monkeypatch, capsys):
    monkeypatch.setenv("CVAE_STRICT", "1")
    exercise(**{**RIGHT, "f": None})(doubled)
    assert "NOT YET" in capsys.readouterr().out
    for wrong in (lambda x: x**3, lambda x: x.foo):
        with pytest.raises(AssertionError, match=r"f\(2\) is 8|AttributeError"):
            exercise(**{**RIGHT, "f": wrong})(doubled)


def test_a_refusal_is_shown_and_its_absence_is_an_error(exercise_7, capsys):
    exercise_7.refuses(**{**RIGHT, "f": lambda x: x})
    assert "exercise 7 refuses it: f(2) is 2, not 4" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="should refuse this answer, but: passed"):
        exercise_7.refuses(**RIGHT)
    with pytest.raises(AssertionError, match="it raised AttributeError"):  # a crash is no reason to be shown
        exercise_7.refuses(**{**RIGHT, "f": lambda x: x.foo})


def test_checks_stand_in_a_file_and_see_the_notebook(tmp_path, monkeypatch, capsys):
    (tmp_path / "checks").mkdir()
    (tmp_path / "baselines.json").write_text("{}")
    sections = ['"""Checks."""', "# %% exercise_1", "def exercise_1(a):", "    assert a == wanted, f'{a}'"]
    sections += ["# %% exercise_2", "raise KeyError('a section is run by its own number only')"]
    (tmp_path / "checks" / "01_sums.py").write_text("\n".join(sections))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CVAE_STRICT", "0")
    here = {"wanted": 4}
    check = checks("01_sums", here)
    here["wanted"] = 5  # what the notebook says when the check is run
    assert check(1, a=5).verdict(a=5).passed and not check(1, a=4).verdict(a=4).passed
    assert capsys.readouterr().out == "exercise 1: passed\nexercise 1: NOT YET: 4\n"
    with pytest.raises(ValueError, match="number: got 3; 01_sums has exercise_1, exercise_2"):
        check(3, a=5)
    with pytest.raises(ValueError, match="name: got '02_other'"):
        checks("02_other", here)


def test_an_exercise_without_answers_is_refused():
    with pytest.raises(ValueError, match="got no answers"):
        exercise()
