"""Whatever is done in whatever order: the database against a dictionary."""

import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from batch.config import Config, FilterSettings
from batch.ingest import ingest
from batch.job import nightly, steps
from batch.job.inputs import ingest_settings
from batch.job.refresh import refresh
from batch.job.republish import republish
from batch.ranking.evaluate import Evaluation
from batch.store import publish
from batch.store.database import Database, open_database
from batch.store.digests import changed_models
from batch.store.publish import CannotPublishError
from batch.store.run_lock import run_lock
from data import fill, long_csv
from fixed import by_fixed_arithmetic, figures
from processes import POINTS, end_at, ended, in_child
from tables import with_tables

Ask = Callable[[str], list[tuple[Any, ...]]]

USERS, FILMS, LISTED = 4, 12, 5
KEPT = 3
FIRST = 1_000_000_000
"""When the first ratings were given, seconds since 1970."""
STEPS = 40


class Nights(RuleBasedStateMachine):
    """The model: ratings, films seen, how runs ended, the current and the previous, purged ones."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        by_fixed_arithmetic(self.patch)
        self.folder = TemporaryDirectory(dir=self.start.parent)
        self.home = Path(self.folder.name)
        self.now = datetime(2026, 11, 1, tzinfo=UTC)
        self.database: Database
        self.ratings: dict[tuple[str, str], tuple[int, float]] = {}
        self.seen: set[tuple[str, str]] = set()
        self.runs: dict[int, str] = {}
        self.dates: dict[int, date] = {}  # the night that each run is of
        self.current: int | None = None
        self.before: int | None = None
        self.purged: set[int] = set()
        self.number = 0  # of the newest run, a refresh too
        self.known: dict[int, int] = {}  # the newest batch that each night and refresh knew
        self.rated: dict[str, int] = {}  # the batch of each user's newest rating or film seen
        self.refreshed: dict[str, int] = {}  # the refresh that a user is shown

    tried: ClassVar[Counter[str]] = Counter()
    """By promise, over all examples."""
    start: ClassVar[Path]
    """A file with tables, a catalogue, and one rating of each user; every example has a copy."""

    @initialize()
    def empty(self) -> None:
        """Nothing but what it starts with."""
        self.database = open_database(
            f"sqlite:///{shutil.copy(self.start, self.home / 'recbatch.db')}"
        )
        self.ratings = {(f"u{user}", f"m{user}"): (FIRST, 4.0) for user in range(USERS)}

    def teardown(self) -> None:
        """Give the folder back."""
        self.patch.undo()
        self.folder.cleanup()

    def _ingest(self, name: str) -> None:
        with run_lock(self.database):
            [report] = ingest(self.database, [self.home / name], ingest_settings(Config()))
        assert report.status in ("merged", "unchanged")

    def _config(self) -> Config:
        return Config.model_validate(
            {
                "artifacts": {"dir": self.home / "artifacts"},
                "publish": {"keep_runs": KEPT, "top_n": LISTED, "least_ratings": 1},
            }
        )

    def _order(self, *, manual: bool, publish: bool = True) -> nightly.Order:
        day = self.now.date()
        due_at = datetime.combine(day, time(), UTC)
        trigger: Literal["manual", "schedule"] = "manual" if manual else "schedule"
        return nightly.Order(day, trigger, publish=publish, due_at=due_at)

    # What can be done

    @rule(
        user=strategies.integers(0, USERS - 1),
        film=strategies.integers(0, 3),  # so that there is always a list of five unseen ones
        stars=strategies.sampled_from([1.0, 3.5, 5.0]),
        at=strategies.integers(0, 3),
    )
    def rate(self, user: int, film: int, stars: float, at: int) -> None:
        """Ingest one rating, older or newer than what is known of the pair."""
        pair, said = (f"u{user}", f"m{film}"), (FIRST + at, stars)
        (self.home / "ratings.csv").write_text(long_csv([(*pair, stars, said[0])]))
        self._ingest("ratings.csv")
        self.tried["C3"] += 1
        if said > self.ratings.get(pair, (0, 0.0)):
            self.ratings[pair] = said
            self.rated[pair[0]] = self._newest_batch()

    @precondition(lambda self: self.current is not None)
    @rule()
    def refresh(self) -> None:
        """New lists of whoever rated since what readers see."""
        since = max(self.known[run] for run in (self.current, *self.refreshed.values()))
        changed = {user for user, batch in self.rated.items() if batch > since}
        refreshed = refresh(self.database, self._config())
        assert (refreshed.base_run_id, refreshed.users) == (self.current, len(changed))
        self.tried["D16"] += 1
        if not changed:
            assert refreshed.run_id is None
            return
        self.number += 1
        assert refreshed.run_id == self.number
        self._abandon()
        self.known[self.number] = self._newest_batch()
        self.refreshed |= dict.fromkeys(changed, self.number)
        self._purge()

    @rule(user=strategies.integers(0, USERS - 1), film=strategies.integers(0, 3))
    def see(self, user: int, film: int) -> None:
        """Ingest one film that was seen."""
        pair = (f"u{user}", f"m{film}")
        (self.home / "seen.csv").write_text(f"user,movie\n{pair[0]},{pair[1]}\n")
        with run_lock(self.database):
            file = self.home / "seen.csv"
            [report] = ingest(self.database, [], ingest_settings(Config()), seen_paths=[file])
        assert report.status in ("merged", "unchanged")
        if pair not in self.seen:
            self.rated[pair[0]] = self._newest_batch()
        self.seen.add(pair)

    @rule(manual=strategies.booleans())
    def night(self, manual: bool) -> None:
        """Run a night; the clock's are published once each."""
        done = [
            run
            for run, day in self.dates.items()
            if day == self.now.date() and self.runs[run] == "published"
        ]
        outcome = nightly.run(self.database, self._config(), self._order(manual=manual))
        if not manual and done:
            assert (outcome.status, outcome.run_id) == ("already_published", max(done))
            self.tried["B4"] += 1
            return
        assert outcome.status == "published"
        self._opened("published")
        self._published(self.number)
        self._purge()

    @rule()
    def unpublished(self) -> None:
        """Run a night that is not to be published."""
        outcome = nightly.run(
            self.database, self._config(), self._order(manual=True, publish=False)
        )
        assert outcome.status == "ready"
        self._opened("ready")
        self._purge()

    @precondition(lambda self: self.current is not None)
    @rule()
    def refused(self) -> None:
        """Run a night whose models have become useless."""

        def useless(*given: Any) -> Evaluation:
            found = figures(*given)
            rmse = {"own.rmse": 2.0, "own.rmse_low": 2.0}
            useless = {name: {**each, **rmse} for name, each in found.metrics.items()}
            return replace(found, metrics=useless)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(steps, "measure", useless)
            outcome = nightly.run(self.database, self._config(), self._order(manual=True))
        assert outcome.status == "rejected"
        self.tried["A10"] += 1
        self._opened("rejected")
        self._purge()

    @rule(point=strategies.sampled_from(sorted(POINTS)))
    def killed(self, point: str) -> None:
        """Run a night that is killed somewhere."""

        def work() -> int:
            end_at(point, signal.SIGKILL)
            nightly.run(self.database, self._config(), self._order(manual=True))
            return 0

        assert ended(in_child(work, Path(os.devnull))) == -signal.SIGKILL
        if point.endswith(" open_run"):
            return  # nothing was committed
        self._opened("published" if point.endswith(" purge") else "running")
        if point.endswith(" purge"):
            self._published(self.number)
        if point == "after purge":
            self._purge()

    @rule()
    def rollback(self) -> None:
        """Show the run before."""
        try:
            chosen = republish(self.database, FilterSettings(), publish.previous)
        except CannotPublishError:
            assert self.before is None
            return
        assert chosen.run_id == self.before
        self.tried["A9"] += 1
        self.current, self.before = self.before, self.current
        self.refreshed = {}

    @rule(data=strategies.data())
    @precondition(lambda self: self.runs)
    def publish(self, data: Any) -> None:
        """Publish any run, also one that cannot be."""
        chosen = data.draw(strategies.sampled_from(sorted(self.runs)))
        possible = (
            self.runs[chosen] in ("published", "ready", "rejected") and chosen not in self.purged
        )
        try:
            republish(self.database, FilterSettings(), lambda _: chosen)
        except CannotPublishError:
            assert not possible
            return
        assert possible
        self.runs[chosen] = "published"
        self._published(chosen)

    @rule()
    def purge(self) -> None:
        """Delete the lists of old runs."""
        with run_lock(self.database):
            publish.purge(self.database, 2)
        self._purge(2)

    @rule(hours=strategies.integers(-30, 60))
    def clock(self, hours: int) -> None:
        """Set the clock."""
        self.now += timedelta(hours=hours)

    # What must hold

    @invariant()
    def the_tables_say_so_too(self) -> None:
        """All of it, seen at one moment."""
        if not hasattr(self, "database"):
            return
        with self.database.reader.connect() as connection:

            def ask(sql: str) -> list[tuple[Any, ...]]:
                return [tuple(row) for row in connection.execute(text(sql))]

            self._readers_see_the_current_run(ask)
            self._ratings_are_the_newest(ask)
            self._history_is_true(ask)
            if self.current is not None:
                assert changed_models(connection, self.current) == []

    def _readers_see_the_current_run(self, ask: Ask) -> None:
        """One whole run, the one that the model says, or nothing."""
        assert ask("SELECT run_id, previous_run_id FROM publication") == (
            [] if self.current is None else [(self.current, self.before)]
        )
        each = (
            "SELECT run_id, count(*) FROM current_recommendations GROUP BY run_id, user_key, model"
        )
        wanted = [] if self.current is None else [(self.current, LISTED)] * USERS * 4
        assert ask(each) == wanted
        listed = ask("SELECT DISTINCT user_key, movie_key FROM current_recommendations")
        assert self.seen.isdisjoint(listed)
        overlay = "SELECT user_key, run_id FROM refreshed_users JOIN users USING (user_id)"
        assert dict(ask(overlay)) == self.refreshed
        similar = ask("SELECT DISTINCT run_id FROM current_similar")
        assert similar == ([] if self.current is None else [(self.current,)])

    def _ratings_are_the_newest(self, ask: Ask) -> None:
        """What ingest keeps of a pair does not depend on the order."""
        joined = "ratings JOIN users USING (user_id) JOIN movies USING (movie_id)"
        found = ask(f"SELECT user_key, movie_key, rated_at, rating FROM {joined}")
        assert {(user, film): (at, stars) for user, film, at, stars in found} == self.ratings

    def _history_is_true(self, ask: Ask) -> None:
        """Each run ended as the model says, and what was purged, and only that, has no rows."""
        nights = "SELECT run_id, status, purged_at IS NOT NULL FROM runs WHERE kind = 'night'"
        told = ask(nights)
        assert {run: status for run, status, _ in told} == self.runs
        assert {run for run, _, purged in told if purged} == self.purged
        held = {run for (run,) in ask("SELECT DISTINCT run_id FROM recommendations")}
        with_similar = {run for (run,) in ask("SELECT DISTINCT run_id FROM similar_items")}
        assert (held | with_similar).isdisjoint(self.purged)
        whole = {
            run for run, status in self.runs.items() if status in ("published", "ready", "rejected")
        }
        assert whole - self.purged <= held & with_similar
        assert held - whole == set(self.refreshed.values()) | (held & self._unfinished())

    # The model's own arithmetic

    def _newest_batch(self) -> int:
        with self.database.reader.connect() as connection:
            newest = text("SELECT max(batch_id) FROM ingest_batches")
            return int(connection.execute(newest).scalar_one())

    def _unfinished(self) -> set[int]:
        return {run for run, status in self.runs.items() if status in ("running", "abandoned")}

    def _abandon(self) -> None:
        for run, was in self.runs.items():
            if was == "running":
                self.runs[run] = "abandoned"

    def _opened(self, status: str) -> None:
        self._abandon()
        self.number += 1
        self.runs[self.number], self.dates[self.number] = status, self.now.date()
        self.known[self.number] = self._newest_batch()

    def _published(self, run: int) -> None:
        if run != self.current:
            self.current, self.before = run, self.current
            self.refreshed = {}

    def _purge(self, keep: int = KEPT) -> None:
        whole = [
            run for run, status in self.runs.items() if status in ("published", "ready", "rejected")
        ]
        spared = {*sorted(whole)[-keep:], self.current, self.before}
        self.purged |= {run for run, status in self.runs.items() if status != "running"} - spared


@pytest.mark.promise("A1")
@pytest.mark.promise("A9")
@pytest.mark.promise("A10")
@pytest.mark.promise("A12")
@pytest.mark.promise("A13")
@pytest.mark.promise("B4")
@pytest.mark.promise("C3")
@pytest.mark.promise("D16")
def test_whatever_is_done_in_whatever_order(
    tmp_path: Path, often: Callable[[int, int], int], figure: Callable[..., None]
) -> None:
    """After any forty steps of a night's life the tables are what a dictionary says."""
    Nights.tried.clear()
    times = often(3, 1000)
    Nights.start = tmp_path / "start.db"
    database = with_tables(f"sqlite:///{Nights.start}")
    fill(database, tmp_path, [(f"u{user}", f"m{user}", 4.0, FIRST) for user in range(USERS)], FILMS)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Nights,
        settings=settings(
            max_examples=times,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    figure(times * STEPS)
    for promise, tries in Nights.tried.items():
        figure(tries, promise)
