"""Fitted models' weights -> one safetensors file a run, and its sha256; nothing here is ever unpickled."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save


def weights_file(folder: Path, name: str) -> Path:
    """Where they go: an absolute path, so that the file is found again from any folder."""
    return folder.absolute() / f"{name}.safetensors"


def save_weights(file: Path, weights: Mapping[str, Mapping[str, Any]]) -> str:
    """Write every model's named arrays as float32 tensors `model.array`; returns the file's sha256.

    A file that does not have the sha256 of its run is not whole.
    """
    tensors = {
        f"{model}.{array}": np.ascontiguousarray(values, dtype=np.float32)
        for model, arrays in weights.items()
        for array, values in arrays.items()
    }
    content = save(tensors)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return hashlib.sha256(content).hexdigest()
