"""notebooks/render.py on small made-up notebooks."""

import made_up
import nbformat
import pytest
import render


def test_rendering_stores_outputs_and_again_the_same_bytes(tmp_path):
    path = made_up.write(tmp_path, "01_a", made_up.PICTURE, "for n in range(3):\n    print(n)", made_up.REPORT)
    ids = [cell.id for cell in nbformat.read(path, as_version=4).cells]
    assert render.main([], folder=tmp_path) == 0
    first = path.read_bytes()
    nb = nbformat.read(path, as_version=4)
    assert [cell.id for cell in nb.cells] == ids
    assert [cell.execution_count for cell in nb.cells if cell.cell_type == "code"] == [1, 2, 3, 4]
    assert nb.cells[3].outputs[0].text == "0\n1\n2\n" and len(nb.cells[3].outputs) == 1
    assert all("execution" not in cell.metadata for cell in nb.cells) and "widgets" not in nb.metadata
    assert render.main(["--nb", "1"], folder=tmp_path) == 0
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["01_a.ipynb"]


def test_a_notebook_that_fails_stays_as_it_was_and_the_next_is_rendered(tmp_path, capsys):
    bad = made_up.write(tmp_path, "01_bad", "1 / 0")
    made_up.write(tmp_path, "02_good", "print('rendered')")
    before = bad.read_bytes()
    assert render.main([], folder=tmp_path) == 1
    assert bad.read_bytes() == before
    assert "cell 3, `1 / 0`: ZeroDivisionError" in capsys.readouterr().out
    assert "rendered" in (tmp_path / "02_good.ipynb").read_text()


@pytest.mark.parametrize("source", ["mnist_5k", "adult_5k", "mnist_5k+sprites"])
def test_outputs_of_the_bundled_digits_are_not_stored_unasked(tmp_path, capsys, source):
    path = made_up.write(tmp_path, "01_a", made_up.REPORT.replace('"none"', f'"{source}"'))
    before = path.read_bytes()
    assert render.main([], folder=tmp_path) == 1
    assert path.read_bytes() == before and "bundled digits" in capsys.readouterr().out
    assert render.main(["--allow-bundled"], folder=tmp_path) == 0
    assert path.read_bytes() != before


def test_an_unknown_notebook_is_refused(tmp_path, capsys):
    made_up.write(tmp_path, "01_a")
    assert render.main(["--nb", "07"], folder=tmp_path) == 2
    assert "got 07; allowed are 01_a" in capsys.readouterr().err
