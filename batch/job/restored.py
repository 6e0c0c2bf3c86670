"""The current run's models, restored from what it stored, for newer ratings."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection

from batch import RecbatchError
from batch.job.recorded import recorded
from batch.models.kept_arrays import Arrays, NotKeptError, require_enough, restore
from batch.ranking.blend_weights import Weights
from batch.ranking.ensemble import Ensemble, assemble
from batch.ranking.mask import Mask
from batch.ratings import Ints, Ratings
from batch.store.artifacts import DamagedWeightsError, load_weights
from batch.store.first_steps import first_steps
from batch.store.runs import Run, current_run

REMEDY = "the next run makes that good ('recbatch run')"


class CannotRestoreError(RecbatchError):
    """The current run's models cannot be restored; the message says why."""


class Kept(NamedTuple):
    """What the current run learnt."""

    arrays: Mapping[str, Arrays]
    weights: Weights | None  # of the blend; None: there was too little to learn from


def run_to_restore(connection: Connection) -> Run:
    """The current run, if it stored what it learnt. Raises CannotRestoreError."""
    base = current_run(connection)
    if base is None:
        raise CannotRestoreError(f"nothing is published yet; {first_steps(connection)}")
    if base.artifact is None or base.artifact_sha256 is None:
        raise _cannot(base, f"what it learnt is not stored; {REMEDY}")
    if base.known_until is not None:
        raise _cannot(base, f"it is of the past, by --as-of; {REMEDY}")
    return base


def kept_of(connection: Connection, base: Run) -> Kept:
    """What the run learnt. Raises CannotRestoreError."""
    try:
        arrays = load_weights(Path(base.artifact or ""), base.artifact_sha256)
    except DamagedWeightsError as error:
        raise _cannot(base, f"{error}; {REMEDY}") from error
    try:
        require_enough(arrays)
    except NotKeptError as error:
        raise _cannot(base, str(error)) from error
    return Kept(arrays, recorded(connection, base.run_id).weights)


def restored_ensemble(
    base: Run, kept: Kept, ratings: Ratings, users: Ints, mask: Mask, diversity: float
) -> Ensemble:
    """The run's models for these users, (u,), by newer ratings."""
    restored = restore(kept.arrays, ratings, users, base.half_life)
    return assemble(ratings, restored.models, kept.weights, mask, diversity, restored.learnt)


def _cannot(base: Run, reason: str) -> CannotRestoreError:
    return CannotRestoreError(f"run {base.run_id} cannot score anyone again: {reason}")
