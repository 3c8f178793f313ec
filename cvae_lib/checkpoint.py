"""Checkpoints of `train.fit`: a file that is whole or not there."""

import os
from pathlib import Path

import torch


def save_checkpoint(path: Path, content: dict) -> None:
    """Writes under another name first, so that a kill in between leaves the old file whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict:
    """Reads a checkpoint of `fit`; its entry "model" is for `load_state_dict`. Runs no code from the file.

    Raises:
        ValueError: If the file is not a whole checkpoint of `fit`.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        saved["owner"], saved["model"]
    except Exception as error:
        raise ValueError(f"checkpoint: {path} is not a whole checkpoint of cvae_lib.train.fit ({error})") from error
    return saved
