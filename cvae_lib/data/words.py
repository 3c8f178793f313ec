"""Words of several languages."""

from __future__ import annotations

from cvae_lib.data.dataset import Data


def words(split: str) -> Data:
    """To be written."""
    raise NotImplementedError
