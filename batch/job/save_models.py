"""A night's models -> a file of what they learnt, for refreshes."""

from pathlib import Path
from tempfile import TemporaryFile

from batch import RecbatchError
from batch.job.steps import Job
from batch.ranking.ensemble import Ensemble
from batch.store import publish
from batch.store.artifacts import save_weights, weights_file
from batch.telemetry import log_warning


class ArtifactsError(RecbatchError):
    """No file can be written to artifacts.dir; the message says why."""


def require_writable(folder: Path) -> None:
    """Raise ArtifactsError now rather than lose the weights hours later."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            file.write(b"\0")
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"artifacts.dir: {folder}: {reason}; let the job write there, or name another"
        raise ArtifactsError(message) from error


def save_models(job: Job, ensemble: Ensemble) -> None:
    """Write what was learnt to a file, and its name and sha256 to `runs`.

    No list depends on the file, only refreshes of the lists: where it cannot be written, the run
    goes on without it, and warns.
    """
    from batch.models.kept_arrays import arrays_to_keep  # loads numba

    database = job.database
    name = f"{database.fingerprint}-run-{job.key.run_id}"
    file = weights_file(job.config.artifacts.dir, name)
    config = job.config
    weights = arrays_to_keep(
        ensemble.ratings,
        ensemble.models,
        ensemble.learnt,
        config.models,
        config.evaluation.seed,
    )
    # Recorded before the file is there: after a crash, purge must find it.
    with database.writer.begin() as connection:
        publish.update_run(connection, job.key, artifact=str(file))
    with database.writer.begin() as connection:
        publish.require_ownership(connection, job.key)
        try:
            sha256 = save_weights(file, weights)
            columns: dict[str, str | None] = {"artifact_sha256": sha256}
        except OSError as error:
            reason = error.strerror or str(error)
            log_warning("weights not saved", file=str(file), error=reason)
            columns = {"artifact": _path_unless_removed(file)}
        publish.update_run(connection, job.key, **columns)


def _path_unless_removed(file: Path) -> str | None:
    """Remove a file; returns its path if that fails, so that purge tries again."""
    try:
        file.unlink(missing_ok=True)
    except OSError:
        return str(file)
    return None
