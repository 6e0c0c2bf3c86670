"""Weights of fitted models -> one safetensors file for each run, and its sha256."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

# Nothing is ever unpickled: safetensors files contain only numbers.


def weights_file(folder: Path, name: str) -> Path:
    """The absolute path of a weights file, for use from any directory."""
    return folder.absolute() / f"{name}.safetensors"


def save_weights(file: Path, weights: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the named arrays of every model as float32 tensors `model.array`.

    Returns the sha256 of the file: one with another sha256 is damaged or
    incomplete.
    """
    tensors = {}
    for model, arrays in weights.items():
        for name, values in arrays.items():
            tensor = np.ascontiguousarray(values, dtype=np.float32)
            tensors[f"{model}.{name}"] = tensor
    content = save(tensors)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return hashlib.sha256(content).hexdigest()
