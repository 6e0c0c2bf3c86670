"""What fails around the models of a run: its inputs, its files, and what follows publication."""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from batch import RecbatchError
from batch.config import load_config
from batch.job import nightly, notify, save_models, steps
from batch.job.nightly import Order, Outcome
from batch.job.shutdown import Interrupted
from batch.job.summary import RunSummary
from batch.store import publish
from batch.store.database import Database
from fixed import command
from processes import end_at, ended, in_child
from tables import leftovers, rows, shown

DONE, FAILED, TERMINATED = 0, 1, 143
TODAY = date(2026, 11, 23)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("nights")  # run 1 is published


def run_night(database: Database, order: Order | None = None) -> Outcome:
    """A run in this process, by the settings of the environment."""
    return nightly.run(database, load_config(None), order or Order(TODAY))


@pytest.fixture
def summaries(monkeypatch: pytest.MonkeyPatch) -> list[RunSummary]:
    """What each run of a test would have sent as notifications."""
    sent: list[RunSummary] = []
    monkeypatch.setattr(nightly, "notify", lambda summary, _config: sent.append(copy(summary)))
    return sent


def raising(error: BaseException) -> Callable[..., Any]:
    """A function that raises this."""

    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


ERRORS = [
    (PermissionError(13, "Permission denied", "in"), "[Errno 13] Permission denied: 'in'"),
    (RecbatchError("x"), "x"),
    (KeyError("x"), "KeyError: 'x'"),
]
"""What ingest raises, and the reason that is recorded: a class where the message is no sentence."""


@pytest.mark.promise("A4")
@pytest.mark.parametrize(("error", "reason"), ERRORS)
def test_an_ingest_that_fails_leaves_a_failed_run(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    summaries: list[RunSummary],
    error: Exception,
    reason: str,
) -> None:
    """Whatever ingest raises, the run is in `runs` as failed, with the reason, and is notified."""
    monkeypatch.setattr(steps, "ingest_sources", raising(error))
    with pytest.raises(type(error)):
        run_night(database)
    runs = rows(database, "SELECT run_id, status, error FROM runs ORDER BY run_id DESC")
    assert runs[0] == (2, "failed", reason)
    [summary] = summaries
    assert (summary.run_id, summary.status, summary.error) == (2, "failed", reason)
    assert shown(database) == 1
    monkeypatch.undo()


def test_a_signal_during_ingest_leaves_an_abandoned_run(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM while files are read exits 143 and leaves the run abandoned."""

    def terminate(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(steps, "ingest_sources", terminate)
    assert ended(in_child(lambda: command("-q", "run"), tmp_path / "log")) == TERMINATED
    runs = rows(database, "SELECT status, error FROM runs WHERE run_id = 2")
    assert runs == [("abandoned", "ended by a signal")]
    assert shown(database) == 1


def test_a_run_begins_before_its_ingest(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While files are read the run is `running`; batches that it ingests are among its ratings."""
    file = tmp_path / "more.csv"
    file.write_text("user,movie,rating\nnew user,m1,4\nnew user,m2,5\n")
    monkeypatch.setenv("RECBATCH_INGEST__PATHS", str(file))
    ingest = steps.ingest_sources
    statuses = []

    def watched(*given: Any, **named: Any) -> Any:
        statuses.extend(rows(database, "SELECT status FROM runs WHERE run_id = 2"))
        return ingest(*given, **named)

    monkeypatch.setattr(steps, "ingest_sources", watched)
    assert run_night(database, Order(TODAY, force=True)).status == "published"
    assert statuses == [("running",)]
    newest = "(SELECT max(batch_id) FROM ingest_batches)"
    assert rows(database, f"SELECT 1 FROM runs WHERE last_batch_id = {newest}") == [(1,)]


def test_a_night_that_is_published_opens_no_run(
    database: Database, summaries: list[RunSummary]
) -> None:
    """A scheduled run of a published night does nothing, and leaves no row."""
    assert run_night(database, Order(TODAY, "schedule", due_at=NOON)).status == "published"
    again = run_night(database, Order(TODAY, "catchup", due_at=NOON))
    assert (again.status, again.run_id) == ("already_published", 2)
    assert rows(database, "SELECT count(*) FROM runs") == [(2,)]
    assert [summary.run_id for summary in summaries] == [2]


def test_a_file_that_cannot_be_read_is_refused(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose reading fails is reported with its path; others of its folder are ingested."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").symlink_to("/proc/self/mem")  # its first byte cannot be read
    (folder / "b.csv").write_text("user,movie,rating\nu1,m1,4\nu1,m2,5\n")
    monkeypatch.setenv("RECBATCH_INGEST__PATHS", str(folder))
    outcome = run_night(database, Order(TODAY, force=True))
    statuses = {Path(report.file).name: report.status for report in outcome.ingested}
    assert statuses == {"a.csv": "refused", "b.csv": "merged"}
    [why] = [report.why for report in outcome.ingested if report.status == "refused"]
    assert why.startswith(f"{folder / 'a.csv'}: ")
    assert outcome.status == "published"


@pytest.mark.parametrize("place", ["a file", "below a file", "full"])
def test_unusable_artifacts_are_met_before_anything_is_computed(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    summaries: list[RunSummary],
    place: str,
) -> None:
    """Where artifacts.dir cannot hold a file, the run fails at once, with path and remedy."""
    file = tmp_path / "file"
    file.write_text("mine")
    folder = {"a file": file, "below a file": file / "below", "full": tmp_path}[place]
    if place == "full":
        is_full = raising(OSError(28, "No space left on device"))
        monkeypatch.setattr(save_models, "TemporaryFile", is_full)
    monkeypatch.setenv("RECBATCH_ARTIFACTS__DIR", str(folder))
    monkeypatch.setattr(steps, "ingest_files", raising(AssertionError("ingested")))
    with pytest.raises(save_models.ArtifactsError) as raised:
        run_night(database)
    assert str(raised.value).startswith(f"artifacts.dir: {folder}: ")
    assert str(raised.value).endswith("; let the job write there, or name another")
    runs = rows(database, "SELECT status, error FROM runs WHERE run_id = 2")
    assert runs == [("failed", str(raised.value))]
    assert summaries[0].status == "failed"
    assert file.read_text() == "mine"


@pytest.mark.promise("A7")
@pytest.mark.parametrize("removable", [True, False])
def test_a_run_without_its_weights_is_published(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    removable: bool,
) -> None:
    """Where weights cannot be written at the end, the lists are published and a warning logged.

    Half a file is removed; one that cannot be removed stays in `runs`, so that purge removes it.
    """

    def half(file: Path, *_: object) -> str:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    unlink = Path.unlink
    monkeypatch.setenv("RECBATCH_PUBLISH__KEEP_RUNS", "2")
    with monkeypatch.context() as patch:
        patch.setattr(save_models, "save_weights", half)
        if not removable:
            patch.setattr(Path, "unlink", raising(PermissionError(13, "Permission denied")))
        assert command("-q", "run") == DONE
    [line] = capsys.readouterr().err.splitlines()
    warning = json.loads(line)
    assert (warning["event"], warning["error"]) == ("weights not saved", "No space left on device")
    assert shown(database) == 2
    assert Path.unlink is unlink
    [(artifact, sha256)] = rows(
        database, "SELECT artifact, artifact_sha256 FROM runs WHERE run_id = 2"
    )
    assert sha256 is None
    assert Path(warning["file"]).exists() is not removable
    assert artifact == (None if removable else warning["file"])
    assert command("rollback") == DONE  # integrity asks for no weights
    assert command("rollback") == DONE
    for _ in range(3):
        assert command("-q", "run") == DONE
    assert leftovers(database) == []
    assert not Path(warning["file"]).exists()


def metrics_of(file: Path) -> dict[str, float]:
    """The samples of a metrics file by name and label."""
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.mark.promise("B7")
@pytest.mark.parametrize("point", ["before purge", "after purge"])
def test_a_signal_after_publication_announces_the_published_run(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """SIGTERM during the final purge exits 143, and the metrics say that the run is published."""
    file = tmp_path / "recbatch.prom"
    monkeypatch.setenv("RECBATCH_METRICS__TEXTFILE", str(file))

    def work() -> int:
        end_at(point, signal.SIGTERM)
        return command("-q", "run")

    assert ended(in_child(work, tmp_path / "log")) == TERMINATED
    assert shown(database) == 2
    metrics = metrics_of(file)
    assert metrics['recbatch_last_run_status{status="published"}'] == 1
    assert metrics['recbatch_last_run_status{status="abandoned"}'] == 0
    assert metrics["recbatch_last_success_run_id"] == 2
    assert "abandoned" not in (tmp_path / "log").read_text()


@pytest.mark.promise("B7")
@pytest.mark.parametrize("published", [True, False])
def test_a_signal_just_after_the_last_commit(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    summaries: list[RunSummary],
    published: bool,
) -> None:
    """A signal between the last commit and the next line leaves the status that was committed."""
    commit = publish.commit_or_verify

    @contextmanager
    def then_interrupted(*given: Any) -> Iterator[None]:
        with commit(*given):
            yield
        raise Interrupted(TERMINATED)

    monkeypatch.setattr(publish, "commit_or_verify", then_interrupted)
    with pytest.raises(Interrupted):
        run_night(database, Order(TODAY, publish=published))
    status = "published" if published else "ready"
    assert rows(database, "SELECT status, error FROM runs WHERE run_id = 2") == [(status, None)]
    assert [(summary.status, summary.error) for summary in summaries] == [(status, None)]


@pytest.mark.promise("A7")
@pytest.mark.parametrize("fault", ["purge", "metrics", "webhook", "log"])
def test_what_fails_after_publication_is_a_warning(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """An unexpected error while purging, notifying or logging leaves exit code 0."""
    monkeypatch.setenv("RECBATCH_METRICS__TEXTFILE", str(tmp_path / "recbatch.prom"))
    monkeypatch.setenv("RECBATCH_NOTIFY__WEBHOOK_URL", "http://127.0.0.1:1/s3cret")
    error = RuntimeError("s3cret")
    if fault == "purge":
        monkeypatch.setattr(publish, "purge", raising(error))
    if fault == "metrics":
        monkeypatch.setattr(notify, "metrics_text", raising(error))
    if fault == "webhook":
        monkeypatch.setattr(notify, "Thread", raising(error))

    def work() -> int:
        if fault == "log":
            os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
        return command("run")

    log = tmp_path / "log"
    assert ended(in_child(work, log)) == DONE
    assert shown(database) == 2
    assert not re.search("^Traceback", log.read_text(), re.MULTILINE)
    expected = {
        "purge": ("purge failed", "RuntimeError: s3cret"),
        "metrics": ("metrics not written", "RuntimeError"),
        "webhook": ("webhook not delivered", "RuntimeError"),
    }
    if fault != "log":
        lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
        warnings = [(line["event"], line.get("error")) for line in map(json.loads, lines)]
        assert expected[fault] in warnings


def test_a_metrics_file_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal while the metrics file is written leaves no unfinished file."""
    folder = tmp_path / "node"
    folder.mkdir()
    monkeypatch.setenv("RECBATCH_METRICS__TEXTFILE", str(folder / "recbatch.prom"))
    monkeypatch.setattr(Path, "replace", raising(Interrupted(TERMINATED)))
    assert ended(in_child(lambda: command("-q", "run"), tmp_path / "log")) == TERMINATED
    assert list(folder.iterdir()) == []
