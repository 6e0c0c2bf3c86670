"""Fitted models' weights -> one safetensors file a run, and its sha256; nothing here is ever unpickled."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save


def save_weights(folder: Path, run_id: int, weights: Mapping[str, Mapping[str, Any]]) -> tuple[Path, str] | None:
    """Write every model's named arrays as float32 tensors `model.name`; None where there is nothing to keep."""
    tensors = {
        f"{model}.{name}": np.ascontiguousarray(array, dtype=np.float32)
        for model, arrays in weights.items()
        for name, array in arrays.items()
    }
    if not tensors:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    content, file = save(tensors), folder / f"run-{run_id}.safetensors"
    unfinished = file.with_suffix(".part")
    unfinished.write_bytes(content)
    unfinished.replace(file)  # whole or not there
    return file, hashlib.sha256(content).hexdigest()
