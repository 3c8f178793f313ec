"""A real table with numeric and categorical columns."""

from __future__ import annotations

from cvae_lib.data.dataset import Data


def adult(split: str, bundled: bool = False) -> Data:
    """To be written."""
    raise NotImplementedError
