"""Fitted models' weights -> one safetensors file a run, and its sha256; nothing here is ever unpickled."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save


def save_weights(folder: Path, name: str, weights: Mapping[str, Mapping[str, Any]]) -> tuple[Path, str] | None:
    """Write every model's named arrays as float32 tensors `model.array`; None where there is nothing to keep.

    Returns the file's absolute path, so that it is found again from any folder, and its sha256.
    """
    tensors = {
        f"{model}.{array}": np.ascontiguousarray(values, dtype=np.float32)
        for model, arrays in weights.items()
        for array, values in arrays.items()
    }
    if not tensors:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    content, file = save(tensors), folder.absolute() / f"{name}.safetensors"
    unfinished = file.with_suffix(".part")
    unfinished.write_bytes(content)
    unfinished.replace(file)  # whole or not there
    return file, hashlib.sha256(content).hexdigest()
