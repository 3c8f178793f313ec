"""notebooks/mark.py on small made-up notebooks."""

import made_up
import mark
import pytest

START = 'from cvae_lib import notebook\n_ = notebook.start("01_sums", profile, seed)'
STUBS = ['from cvae_lib import exercises\ncheck = exercises.checks("01_sums", globals())\na = None', "b = None"]
ANSWERS = {"a": 4, "b": 9}
CHECKS = [f"exercise_{k} = check({k}, {name}={name})" for k, name in enumerate(ANSWERS, start=1)]
OURS = "\n".join(
    f'# %% exercise_{k}\ndef exercise_{k}({name}):\n    assert {name} == {value}, f"{{{name}}} is not {value}"'
    for k, (name, value) in enumerate(ANSWERS.items(), start=1)
)


@pytest.fixture
def folder(tmp_path):
    made_up.write(tmp_path / "notebooks", "01_sums", START, STUBS[0], CHECKS[0], STUBS[1], CHECKS[1])
    (tmp_path / "notebooks" / "checks").mkdir()
    (tmp_path / "notebooks" / "checks" / "01_sums.py").write_text(OURS)
    (tmp_path / "notebooks" / "baselines.json").write_text("{}")  # by which the folder of the notebooks is known
    return tmp_path / "notebooks"


def hand_in(folder, *cells, name="mine"):
    return made_up.write(folder.parent / "handed in", name, START, *cells)


@pytest.mark.parametrize(
    ("cells", "marks"),
    [
        ([STUBS[0].replace("None", "4"), CHECKS[0], "b = 8", CHECKS[1]], ["passed", "not yet"]),
        ([*STUBS[:1], CHECKS[0], *STUBS[1:], CHECKS[1]], ["not yet", "not yet"]),
        ([STUBS[0], "1 / 0", CHECKS[0], "b = 9", CHECKS[1]], ["not yet", "passed"]),  # an error elsewhere
        ([STUBS[0], "del a", CHECKS[0], "b = 9", CHECKS[1]], ["not reached", "passed"]),
        ([STUBS[0], CHECKS[0].replace("a=a", "a=4"), "b = 9"], ["not yet", "passed"]),  # a changed, a deleted check
    ],
    ids=["one wrong", "empty", "error", "name missing", "changed checks"],
)
def test_marks_are_those_of_our_own_checks(folder, cells, marks):
    path = hand_in(folder, *cells)
    build = folder.parent / "build"
    assert mark.mark(path, build, folder) == dict(zip(("1", "2"), marks))
    assert (build / "mine.ipynb").exists() and path.read_text() != (build / "mine.ipynb").read_text()


def test_a_strange_file_does_not_stop_the_others(folder, capsys):
    good = hand_in(folder, STUBS[0].replace("None", "4"), CHECKS[0], "b = 9", CHECKS[1], name="good")
    strange = made_up.write(folder.parent / "handed in", "strange", "x = 1")
    assert mark.main([str(strange), str(good)], folder=folder, build=folder.parent / "build") == 1
    out = capsys.readouterr().out
    assert "not marked: ValueError: it starts as nothing" in out and "2 of 2" in out


@pytest.mark.parametrize("arguments", [["nowhere.ipynb"], [__file__, "--profile", "tiny"]])
def test_what_cannot_be_marked_is_refused(arguments, capsys):
    assert mark.main(arguments) == 2
    assert "refused" in capsys.readouterr().err
