"""Checkpoints of `train.fit`: a file that is whole or not there."""

import io
from pathlib import Path

import torch

from cvae_lib.data import files

PARTS = ("owner", "model", "optimizer", "scheduler", "rng", "cuda_rng", "history")


def save_checkpoint(path: Path, content: dict) -> None:
    """Replaces the file in one step, so that a kill or a full disk leaves the old one whole.

    Raises:
        OSError: If it cannot be written; names the file.
    """
    whole = io.BytesIO()  # torch.save straight to a full disk would say "unexpected pos"
    torch.save(content, whole)
    files.keep(Path(path), whole.getbuffer())


def load_checkpoint(path: Path) -> dict:
    """Reads a checkpoint of `fit`; its entry "model" is for `load_state_dict`. Runs no code from the file.

    Raises:
        OSError: If there is no such file, or it may not be read.
        ValueError: If the file is not a whole checkpoint of `fit`.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if missing := [part for part in PARTS if part not in saved]:
            raise ValueError(f"it has no {', '.join(missing)}")
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"checkpoint: {path} is not a whole checkpoint of cvae_lib.train.fit ({error})") from error
    return saved
