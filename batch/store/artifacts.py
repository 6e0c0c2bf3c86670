"""Arrays of fitted models -> one safetensors file for each run and its sha256, and back."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from batch import RecbatchError

# Nothing is ever unpickled: safetensors files contain only numbers.


class DamagedWeightsError(RecbatchError):
    """The file is not there, or is not what was written; the message says which."""


def weights_file(folder: Path, name: str) -> Path:
    """The absolute path of a weights file, for use from any directory."""
    return folder.absolute() / f"{name}.safetensors"


def save_weights(file: Path, weights: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the named arrays as tensors `model.array`, those of fractions in float32.

    Returns the sha256 of the file: one with another sha256 is damaged or
    incomplete.
    """
    tensors = {}
    for model, arrays in weights.items():
        for name, values in arrays.items():
            is_whole = np.issubdtype(np.asarray(values).dtype, np.integer)
            dtype = np.int64 if is_whole else np.float32
            tensors[f"{model}.{name}"] = np.ascontiguousarray(values, dtype=dtype)
    content = save(tensors)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def load_weights(file: Path, sha256: str | None) -> dict[str, dict[str, Any]]:
    """The arrays of a file by model and name, if it is the one that was written.

    Raises DamagedWeightsError.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DamagedWeightsError(f"{file}: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DamagedWeightsError(f"{file}: it is not the file that the run wrote")
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise DamagedWeightsError(f"{file}: {error}") from error
    arrays: dict[str, dict[str, Any]] = {}
    for name, values in tensors.items():
        model, _, array = name.partition(".")
        arrays.setdefault(model, {})[array] = values
    return arrays
