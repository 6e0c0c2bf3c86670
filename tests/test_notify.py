"""What a real LISTEN connection hears of publications on Postgres."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime

import psycopg
import pytest

from batch.store import publish
from batch.store.database import Database, run_lock
from faults import Faults
from fixed import command

pytestmark = pytest.mark.parametrize("url", ["postgres"], indirect=True)


@pytest.fixture
def user_weighted_sums(nights: Faults, database: Database) -> Iterator[Callable[[], list[str]]]:
    """What was heard since the last call, by a connection that listens; run 1 was published before."""
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as listener:
        listener.execute("LISTEN recbatch_published")
        yield lambda: [each.payload for each in listener.notifies(timeout=0.05)]


def test_each_publication_is_heard_once(user_weighted_sums: Callable[[], list[str]]) -> None:
    """A night, a rollback and a publish are heard as the run that readers then see; what changes nothing is not."""
    assert command("-q", "run") == 0
    assert user_weighted_sums() == ["2"]
    assert command("rollback") == 0
    assert user_weighted_sums() == ["1"]
    assert command("publish", "2") == 0
    assert user_weighted_sums() == ["2"]
    assert command("publish", "2") == 0  # it is current already
    assert command("-q", "run", "--no-publish") == 0
    assert user_weighted_sums() == []


def test_a_refused_run_is_not_heard(
    user_weighted_sums: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody hears of a run that its gates refuse, until a person publishes it."""
    monkeypatch.setenv("RECBATCH_GATE__MAX_RMSE_OF_BIAS", "0.1")
    assert command("-q", "run") == 3
    assert user_weighted_sums() == []
    assert command("publish", "2") == 0
    assert user_weighted_sums() == ["2"]


def test_it_is_heard_at_the_commit(
    user_weighted_sums: Callable[[], list[str]], nights: Faults, database: Database
) -> None:
    """Before the commit, and where it fails, nothing is heard; a run older than the current one never is."""
    with run_lock(database) as holder:
        with holder.begin():
            key = publish.open_run(
                holder,
                date(2026, 11, 25),
                "manual",
                forced=0,
                top_n=5,
                seed=1,
                config_sha256="",
                versions="{}",
            )
        with holder.begin() as transaction:
            publish.publish(holder, key)
            assert user_weighted_sums() == []
            transaction.rollback()
        assert user_weighted_sums() == []
        with holder.begin():
            publish.publish(holder, key)
            assert user_weighted_sums() == []
        assert user_weighted_sums() == ["2"]
        with holder.begin(), pytest.raises(AssertionError):
            assert publish._flip(holder, 1, datetime.now(UTC), forwards_only=True) == 1
        assert user_weighted_sums() == []
