"""Publications -> notifications on a real LISTEN connection of Postgres."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime

import psycopg
import pytest

from batch.store import publish
from batch.store.database import Database
from batch.store.run_lock import run_lock
from faults import Faults
from fixed import command

pytestmark = pytest.mark.parametrize("url", ["postgres"], indirect=True)

RUN_COLUMNS = {"forced": 0, "top_n": 5, "seed": 1, "config_sha256": "", "versions": "{}"}
Received = Callable[[], list[str]]


@pytest.fixture
def received(nights: Faults, database: Database) -> Iterator[Received]:
    """The notifications since the last call; run 1 was published before the first."""
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as listener:
        listener.execute("LISTEN recbatch_published")
        yield lambda: [each.payload for each in listener.notifies(timeout=0.05)]


def test_each_publication_is_notified_once(received: Received) -> None:
    """A night, a rollback and a publish send the run that readers see then, once."""
    assert command("-q", "run") == 0
    assert received() == ["2"]
    assert command("rollback") == 0
    assert received() == ["1"]
    assert command("publish", "2") == 0
    assert received() == ["2"]
    assert command("publish", "2") == 0  # it is current already
    assert command("-q", "run", "--no-publish") == 0
    assert received() == []


def test_a_refused_run_is_not_notified(received: Received, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that its gates refuse sends nothing until a person publishes it."""
    monkeypatch.setenv("RECBATCH_GATE__MAX_RMSE_OF_BIAS", "0.1")
    assert command("-q", "run") == 3
    assert received() == []
    assert command("publish", "2") == 0
    assert received() == ["2"]


def test_notifications_come_with_the_commit(
    received: Received, nights: Faults, database: Database
) -> None:
    """Nothing is sent before the commit, nor if it fails, nor for a run older than the current."""
    with run_lock(database) as holder:
        with holder.begin():
            key = publish.open_run(holder, date(2026, 11, 25), "manual", **RUN_COLUMNS)
        with holder.begin() as transaction:
            publish.publish(holder, key)
            assert received() == []
            transaction.rollback()
        assert received() == []
        with holder.begin():
            publish.publish(holder, key)
            assert received() == []
        assert received() == ["2"]
        with holder.begin():
            assert publish._flip(holder, 1, datetime.now(UTC), forwards_only=True) == 0
        assert received() == []
