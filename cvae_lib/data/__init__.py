"""Datasets as tensors, each with a word on where it came from."""

from cvae_lib.data.dataset import Data, binarize, dequantize, one_hot
from cvae_lib.data.files import DataError
from cvae_lib.data.grey import Grey
from cvae_lib.data.sources import DamagedError
from cvae_lib.data.splits import NAMES, SPLITS, load

__all__ = ["NAMES", "SPLITS", "DamagedError", "Data", "DataError", "Grey", "binarize", "dequantize", "load", "one_hot"]
