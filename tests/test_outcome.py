"""What became of a run's lists: equal to a slow count, by command, night, page and gate."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import insert, text

from batch.config import Config
from batch.ingest import ingest
from batch.ingest.undo import CannotUndoError, undo
from batch.job import judge_runs
from batch.job.inputs import ingest_settings
from batch.job.outcomes import measured_outcomes
from batch.ranking import metrics
from batch.ranking.metrics import interval
from batch.serve.report.facts import gather
from batch.store import publish, schema
from batch.store.checks import recorded
from batch.store.database import Database
from batch.store.outcomes import stored_outcome, write_outcome
from batch.store.purge import purge
from batch.store.run_lock import run_lock
from data import long_csv, settings
from faults import Faults
from fixed import command
from tables import rows

USERS = [f"u{number}" for number in range(9)]
FILMS = [f"m{number:02}" for number in range(14)]
MODELS = ("blend", "item_item")
LIKED = 4.0
LOW, HIGH = 0.5, 5.0
SCALE = (LOW, HIGH)
SEED = Config().evaluation.seed
Pair = tuple[str, str]
Read = Callable[[], str]


@dataclass
class Batch:
    """What a file changed."""

    batch_id: int
    accepted: dict[Pair, tuple[int, float]]  # time and stars
    undone: bool = False


@dataclass
class Night:
    """A run, and what it listed."""

    run_id: int
    last_batch_id: int
    top_n: int
    spare: int
    lists: dict[str, dict[str, list[tuple[str, float | None]]]]  # model, user: film, predicted
    popular: list[str]
    published: bool = False
    purged: bool = False


@dataclass
class History:
    """Files, runs, rollbacks and purges on a database, and the same in plain Python."""

    database: Database
    folder: Path
    random: np.random.Generator
    batches: list[Batch] = field(default_factory=list)
    nights: list[Night] = field(default_factory=list)
    published: list[int] = field(default_factory=list)  # in order of first publication
    current: int | None = None

    def state(self, until: float) -> dict[Pair, tuple[int, float]]:
        """The ratings as of a batch, without the undone ones."""
        stored: dict[Pair, tuple[int, float]] = {}
        for batch in self.batches:
            if batch.batch_id <= until and not batch.undone:
                stored |= batch.accepted
        return stored

    def rate(self) -> None:
        """A file of a few ratings, new and repeated ones, some of them older than what is there."""
        random = self.random
        size = int(random.integers(3, 20))
        rated: dict[Pair, tuple[int, float]] = {}
        for _ in range(size):
            pair = (str(random.choice(USERS)), str(random.choice(FILMS)))
            rated[pair] = (int(random.integers(1, 10**6)), float(random.integers(1, 11)) / 2)
        file = self.folder / f"{len(self.batches)}-{random.integers(10**9)}.csv"
        lines = [(*pair, stars, 10**9 + time) for pair, (time, stars) in rated.items()]
        file.write_text(long_csv(lines))
        with run_lock(self.database):
            [report] = ingest(self.database, [file], ingest_settings(Config()))
        assert report.status == "merged"
        [(batch_id,)] = rows(self.database, "SELECT max(batch_id) FROM ingest_batches")
        before = self.state(batch_id)
        accepted = {
            pair: value for pair, value in rated.items() if value > before.get(pair, (0, 0.0))
        }
        self.batches.append(Batch(batch_id, accepted))

    def undo(self) -> None:
        """One of the files, if that is possible now."""
        batch = self.batches[int(self.random.integers(len(self.batches)))]
        try:
            undo(self.database, batch.batch_id)
        except CannotUndoError:
            return
        batch.undone = True

    def night(self, *, publishing: bool) -> None:
        """A run whose lists are of unrated films, at random, for most users that there are."""
        random = self.random
        rated = self.state(float("inf"))
        [(last_batch_id,)] = rows(
            self.database, "SELECT coalesce(max(batch_id), 0) FROM ingest_batches"
        )
        user_ids = dict(rows(self.database, "SELECT user_key, user_id FROM users ORDER BY user_id"))
        movie_ids = dict(
            rows(self.database, "SELECT movie_key, movie_id FROM movies ORDER BY movie_id")
        )
        top_n = int(random.integers(2, 5))
        spare = int(random.integers(0, 4))
        lists: dict[str, dict[str, list[tuple[str, float | None]]]] = {}
        stored = []
        for model in MODELS:
            lists[model] = {}
            for user in user_ids:
                unrated = [film for film in movie_ids if (user, film) not in rated]
                films = random.permutation(unrated)[: top_n + spare].tolist()
                if random.random() < 0.2 or not films:
                    continue
                stars = [None if random.random() < 0.2 else random.uniform(0, 6) for _ in films]
                lists[model][user] = list(zip(films, stars, strict=True))
                for rank, (film, predicted) in enumerate(lists[model][user], 1):
                    row = {"user_id": user_ids[user], "model": model, "rank": rank}
                    row |= {"movie_id": movie_ids[film], "predicted_rating": predicted}
                    stored.append(row | {"score": 1.0 - rank, "support": 1.0})
        popular = random.permutation(list(movie_ids)).tolist()
        columns = {
            "forced": 0,
            "top_n": top_n,
            "spare": spare,
            "seed": 1,
            "config_sha256": "",
            "versions": "{}",
            "last_batch_id": last_batch_id,
            "rating_min": LOW,
            "rating_max": HIGH,
        }
        with self.database.writer.begin() as connection:
            key = publish.open_run(connection, date(2026, 11, 1), "manual", **columns)
            for row in stored:
                row["run_id"] = key.run_id
            if stored:
                connection.execute(insert(schema.recommendations), stored)
            places = [
                {"run_id": key.run_id, "rank": rank, "movie_id": movie_ids[film], "score": 1.0}
                for rank, film in enumerate(popular, 1)
            ]
            connection.execute(insert(schema.popular_items), places)
            counts = {model: {"rows": 1.0} for model in MODELS}
            publish.write_metrics(connection, key, counts)
            if publishing:
                publish.publish(connection, key)
            else:
                publish.finish(connection, key, "ready")
        self.nights.append(Night(key.run_id, last_batch_id, top_n, spare, lists, popular))
        if publishing:
            self.show(self.nights[-1])

    def publishing_night(self) -> None:
        """A run that readers see."""
        self.night(publishing=True)

    def ready_night(self) -> None:
        """A run that nobody sees yet."""
        self.night(publishing=False)

    def show(self, night: Night) -> None:
        """Remember that readers see this run."""
        if not night.published:
            self.published.append(night.run_id)
        night.published = True
        self.current = night.run_id

    def republish(self) -> None:
        """A run that has lists becomes current again, or for the first time."""
        kept = [night for night in self.nights if not night.purged]
        night = kept[int(self.random.integers(len(kept)))]
        with self.database.writer.begin() as connection:
            publish.republish(connection, night.run_id)
        self.show(night)

    def purge(self) -> None:
        """All but the newest runs, the current one and the one before it; spare rows too."""
        purged = purge(self.database, int(self.random.integers(2, 5)))
        spare = dict(rows(self.database, "SELECT run_id, spare FROM runs"))
        for night in self.nights:
            night.purged |= night.run_id in purged
            if spare[night.run_id] < night.spare:
                night.spare = 0
                for by_user in night.lists.values():
                    for user in by_user:
                        del by_user[user][night.top_n :]

    def window(self, night: Night) -> tuple[float, float]:
        """After which batch, and up to which, a rating counts."""
        place = self.published.index(night.run_id)
        later = self.published[place + 1 :]
        if night.run_id == self.current or not later:
            return night.last_batch_id, float("inf")
        following = next(other for other in self.nights if other.run_id == later[0])
        return night.last_batch_id, following.last_batch_id

    def expected(self, night: Night) -> dict[str, dict[str, float]]:
        """The metrics of a published run, counted slowly."""
        after, until = self.window(night)
        before = self.state(after)
        with_list = {user for by_user in night.lists.values() for user in by_user}
        new: dict[Pair, float] = {}
        if until > after:
            for pair, (_, stars) in self.state(until).items():
                if pair not in before and pair[0] in with_list:
                    new[pair] = stars
        judged = {user for (user, _), stars in new.items() if stars >= LIKED}
        lists = dict(night.lists)
        lists["popular"] = {}
        for user in with_list:
            films = [film for film in night.popular if (user, film) not in before]
            lists["popular"][user] = [(film, None) for film in films[: night.top_n]]
        if not new:
            return {}
        rated = {
            model: sorted(
                (
                    (by_id(user), place, new[user, film], predicted)
                    for user, films in by_user.items()
                    for place, (film, predicted) in enumerate(films)
                    if (user, film) in new
                ),
                key=lambda row: row[:2],
            )
            for model, by_user in lists.items()
        }
        numbers = sorted(by_id(user) for user in judged)
        raters = sorted({row[0] for each in rated.values() for row in each if row[1] < night.top_n})
        return {
            model: self.metrics(night, each, numbers, raters, model != "popular")
            for model, each in rated.items()
        }

    def metrics(
        self,
        night: Night,
        rated: list[tuple[int, int, float, float | None]],
        judged: list[int],
        raters: list[int],
        with_spare: bool,
    ) -> dict[str, float]:
        """Those of one model's lists: user, place from 0, stars and prediction of each row."""
        n = night.top_n
        shown = [row for row in rated if row[1] < n]
        found: dict[str, float] = {"users": len(judged), "rated": len(shown)}
        if with_spare and night.spare:
            found["spare_hits"] = sum(stars >= LIKED for _, place, stars, _ in rated if place >= n)
        if judged:
            hits = [sum(row[0] == user and row[2] >= LIKED for row in shown) for user in judged]
            once = [1.0] * len(judged)
            found |= with_interval("precision", [count / n for count in hits], once, f"@{n}")
            found |= with_interval("hit_rate", [float(count > 0) for count in hits], once, f"@{n}")
        if shown:
            found["raters"] = len({row[0] for row in shown})
            given = [(user, stars) for user, _, stars, _ in shown]
            found |= with_interval("stars", *by_rater(given, raters))
        known = [
            (user, stars, min(max(predicted, LOW), HIGH))
            for user, _, stars, predicted in shown
            if predicted is not None
        ]
        if known:
            found["predicted"] = sum(predicted for *_, predicted in known) / len(known)
            off = [(user, predicted - stars) for user, stars, predicted in known]
            found |= with_interval("calibration", *by_rater(off, raters))
        return found


NUMBERS: dict[str, int] = {}
"""The `user_id` of each user of a history."""


def by_id(user: str) -> int:
    return NUMBERS[user]


def by_rater(values: list[tuple[int, float]], raters: list[int]) -> tuple[list[float], list[float]]:
    """Sum and count of each user's values."""
    of_user = [[value for user, value in values if user == rater] for rater in raters]
    return [sum(each) for each in of_user], [float(len(each)) for each in of_user]


def with_interval(
    name: str, sums: list[float], weights: list[float], n: str = ""
) -> dict[str, float]:
    """A ratio, and its interval by bootstrap over users."""
    low, high = interval(np.array(sums), np.array(weights), SEED)
    value = sum(sums) / sum(weights)
    return {f"{name}{n}": value, f"{name}_low{n}": low, f"{name}_high{n}": high}


@pytest.mark.promise("D15")
def test_outcomes_are_those_of_a_slow_count(
    database: Database,
    tmp_path: Path,
    often: Callable[[int, int], int],
    figure: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After any history of files, undone ones, runs, rollbacks and purges, each run's outcome is
    what counting pair by pair gives: ratings of its window, of films unrated at the run."""
    monkeypatch.setattr(metrics, "RESAMPLES", 50)
    n_compared = 0
    n_judged = 0
    for seed in range(often(5, 100)):
        with database.writer.begin() as connection:
            connection.execute(text("DELETE FROM publication"))
            for table in reversed(schema.metadata.sorted_tables):
                connection.execute(text(f"DELETE FROM {table.name}"))
        history = History(database, tmp_path, np.random.default_rng(seed))
        actions: list[Callable[[], None]] = [
            history.rate, history.rate, history.rate, history.undo, history.republish,
            history.purge, history.publishing_night,
            history.publishing_night, history.ready_night,
        ]  # fmt: skip
        history.rate()
        history.publishing_night()
        for _ in range(20):
            actions[history.random.integers(len(actions))]()
        NUMBERS.clear()
        NUMBERS.update(rows(database, "SELECT user_key, user_id FROM users ORDER BY user_id"))
        with database.reader.connect() as connection:
            measured = {
                window.run_id: figures
                for window, figures in measured_outcomes(connection, settings(tmp_path))
            }
        kept = [night for night in history.nights if night.published and not night.purged]
        assert sorted(measured) == [night.run_id for night in kept]
        for night in kept:
            expected = history.expected(night)
            assert measured[night.run_id].keys() == expected.keys(), (seed, night.run_id)
            for model, figures in expected.items():
                assert measured[night.run_id][model] == pytest.approx(figures), (seed, model)
                n_judged += round(figures["users"])
            n_compared += bool(expected)
    assert n_compared > 10
    assert n_judged > 50
    figure(n_compared)


# By the program itself: nights of fixed arithmetic, whose models all list the same films.

LISTED = """
    SELECT user_key, movie_key FROM recommendations
    JOIN users USING (user_id) JOIN movies USING (movie_id)
    WHERE run_id = {run_id} AND model = 'blend' AND rank = {rank} ORDER BY user_id"""
TIME = 1_700_000_000
on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
"""For what does not depend on the kind of database."""


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]) -> Read:
    """Reads what was printed since the last call."""
    return lambda: capsys.readouterr().out


def rate(database: Database, folder: Path, run_id: int, ranks: dict[int, float], n: int) -> None:
    """The first n users rate the films at these ranks of a run's lists, with so many stars."""
    cells = [
        (*pair, stars, TIME + run_id)
        for rank, stars in ranks.items()
        for pair in rows(database, LISTED.format(run_id=run_id, rank=rank))[:n]
    ]
    file = folder / f"after-{run_id}.csv"
    file.write_text(long_csv(cells))
    assert command("-q", "ingest", str(file)) == 0


def stored(database: Database, run_id: int) -> dict[str, dict[str, float]]:
    with database.reader.connect() as connection:
        return stored_outcome(connection, run_id)


def test_a_night_stores_the_outcomes_of_earlier_runs(
    database: Database, nights: Faults, tmp_path: Path
) -> None:
    """They are of the ratings up to the next published run, and the view has them by run."""
    rate(database, tmp_path, 1, {1: 5.0, 2: 1.0, 6: 4.5}, n=22)
    assert stored(database, 1) == {}
    assert command("-q", "run") == 0
    first = stored(database, 1)
    blend = first["blend"]
    assert (blend["users"], blend["raters"], blend["rated"]) == (22, 22, 44)
    assert blend["precision@5"] == pytest.approx(0.2)
    assert blend["hit_rate@5"] == 1
    assert (blend["stars"], blend["predicted"]) == (3.0, 3.5)
    assert blend["calibration"] == pytest.approx(0.5)
    assert blend["spare_hits"] == 22
    assert first.keys() == {"blend", "item_item", "neural", "user_user", "popular"}
    assert stored(database, 2) == {}
    rate(database, tmp_path, 2, {1: 4.0}, n=25)
    assert command("-q", "run") == 0
    assert stored(database, 1) == first  # its window has ended
    assert stored(database, 2)["blend"]["users"] == 25
    by_run = "SELECT run_id, users, top_n, promised_precision, precision, rated, spare_hits"
    view = rows(database, f"{by_run} FROM run_outcomes_by_run WHERE model = 'blend' ORDER BY 1")
    assert view == [(1, 22, 5, 0.2, pytest.approx(0.2), 44, 22), (2, 25, 5, 0.2, 0.2, 25, 0)]
    popular = rows(
        database, "SELECT DISTINCT popular_precision FROM run_outcomes_by_run WHERE run_id = 1"
    )
    assert popular == [(first["popular"]["precision@5"],)]
    assert "popular" not in {
        model for (model,) in rows(database, "SELECT model FROM run_outcomes_by_run")
    }


def test_outcomes_survive_the_lists(
    database: Database, nights: Faults, tmp_path: Path, output: Read
) -> None:
    """What spare rows added stays once they are trimmed, and all of it once lists are purged."""
    rate(database, tmp_path, 1, {1: 5.0, 6: 4.5}, n=22)
    for _ in range(3):  # two runs are kept
        assert command("-q", "run") == 0
    first = stored(database, 1)
    assert first["blend"]["spare_hits"] == 22
    [(purged_at,)] = rows(database, "SELECT purged_at FROM runs WHERE run_id = 1")
    assert purged_at is not None
    assert command("-q", "run") == 0
    assert stored(database, 1) == first
    output()
    assert command("outcome", "1") == 0
    assert output().startswith("Run 1, as stored before its lists were purged: 22 users liked")
    assert command("outcome", "2") == 0
    assert output() == "run 2 was purged, and nothing is stored of its outcome\n"


def test_an_outcome_without_spare_rows_keeps_what_they_added(database: Database) -> None:
    """A run that has no spare rows any more is written without that figure, which stays."""
    with database.writer.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO runs (run_id, logical_date, triggered_by, status, owner, started_at,"
                " forced, top_n, seed, config_sha256, versions) VALUES (1, '2026-11-01', 'manual',"
                " 'published', '', '2026-11-01T00:00:00.000000+00:00', 0, 5, 1, '', '{}')"
            )
        )
        both = {"users": 3.0, "spare_hits": 2.0}
        write_outcome(connection, 1, {"blend": both}, has_spare=True)
        write_outcome(connection, 1, {"blend": {"users": 4.0}}, has_spare=False)
        assert stored_outcome(connection, 1) == {"blend": {"users": 4.0, "spare_hits": 2.0}}
        write_outcome(connection, 1, {}, has_spare=True)
        assert stored_outcome(connection, 1) == {}


def test_the_command(database: Database, nights: Faults, tmp_path: Path, output: Read) -> None:
    """`outcome` counts up to now, as a table or JSON; nothing new is one line."""
    output()
    assert command("outcome") == 0
    line = "nothing to judge run 1 by: no user with a list of it has rated a film since that was"
    assert output() == f"{line} new to them\n"
    rate(database, tmp_path, 1, {1: 5.0, 2: 1.0, 6: 4.5}, n=22)
    output()
    assert command("outcome") == 0
    title, headings, blend, *_, popular = output().strip().splitlines()
    assert title == "Run 1: 22 users liked a film new to them (4 stars or more)"
    assert headings.split()[:2] == ["model", "prec@5"]
    expected = ["blend", "0.200", "0.200", "to", "0.200", "1.000", "44", "3.00", "3.50"]
    assert blend.split() == [*expected, "+0.50", "22"]
    assert popular.split()[0] == "popular"
    assert popular.split()[-3:] == ["-", "-", "-"]
    assert command("outcome", "1", "--json") == 0
    answer = json.loads(output())
    assert (answer["run_id"], answer["is_stored"], answer["liked_from"]) == (1, False, 4.0)
    assert answer["outcome"]["blend"]["rated"] == 44


@on_sqlite
def test_runs_without_an_outcome(
    database: Database, nights: Faults, capsys: pytest.CaptureFixture[str]
) -> None:
    """A number that no run has is exit 2, a run that nobody saw exit 1, in one line each."""
    assert command("outcome", "7") == 2
    assert "there is no run 7" in capsys.readouterr().err
    assert command("-q", "run", "--no-publish") == 0
    capsys.readouterr()
    assert command("outcome", "2") == 1
    assert capsys.readouterr().err == "recbatch: run 2 is ready: nobody saw its lists\n"
    with database.writer.begin() as connection:
        connection.execute(text("DELETE FROM publication"))
    assert command("outcome") == 1
    assert "nothing is published yet" in capsys.readouterr().err


@on_sqlite
def test_a_failure_is_a_warning(
    database: Database,
    nights: Faults,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A night whose outcomes cannot be counted or written is published all the same."""
    rate(database, tmp_path, 1, {1: 5.0}, n=22)
    for error in (KeyError("model"), OSError(28, "No space left on device")):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(judge_runs, "write_outcome", fail)
            capsys.readouterr()
            assert command("-q", "run") == 0
        assert "outcomes not stored" in capsys.readouterr().err
    assert stored(database, 1) == {}


@on_sqlite
@pytest.mark.parametrize(
    ("limit", "least", "passes"),
    [(None, 20, None), (1.0, 20, True), (1000.0, 20, False), (1000.0, 23, None)],
)
def test_the_gate(
    database: Database,
    nights: Faults,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: float | None,
    least: int,
    passes: bool | None,
) -> None:
    """Where it is asked, and enough users were judged, a published blend that did no better than
    its popular list refuses the night; `--force` overrides."""
    if limit is not None:
        monkeypatch.setenv("RECBATCH_GATE__MIN_OUTCOME_OF_POPULAR", str(limit))
    monkeypatch.setenv("RECBATCH_GATE__MIN_USERS_JUDGED", str(least))
    rate(database, tmp_path, 1, {1: 5.0}, n=22)
    popular = rows(
        database,
        "SELECT user_key, movie_key FROM users, current_popular WHERE NOT EXISTS (SELECT 1 FROM"
        " ratings r JOIN movies m USING (movie_id) WHERE r.user_id = users.user_id"
        " AND m.movie_key = current_popular.movie_key) ORDER BY user_id, rank LIMIT 1",
    )
    file = tmp_path / "popular.csv"
    file.write_text(long_csv([(*pair, 5, TIME) for pair in popular]))
    assert command("-q", "ingest", str(file)) == 0
    assert command("-q", "run") == (3 if passes is False else 0)
    with database.reader.connect() as connection:
        checks = {check.name: check for check in recorded(connection, 2)}
    if passes is None:
        assert "outcome_of_popular_blend" not in checks
        return
    check = checks["outcome_of_popular_blend"]
    delivered = stored(database, 1)
    ratio = delivered["blend"]["precision_high@5"] / delivered["popular"]["precision@5"]
    assert (check.severity, check.passed) == ("gate", passes)
    assert (check.value, check.threshold) == (pytest.approx(ratio), limit)
    assert command("-q", "run", "--force") == 0


def test_figures_of_one_user_are_forgotten(
    database: Database, nights: Faults, tmp_path: Path
) -> None:
    """After `forget` no stored figure rests on one user alone; the others stay."""
    rate(database, tmp_path, 1, {1: 5.0}, n=1)
    assert command("-q", "run") == 0
    rate(database, tmp_path, 2, {1: 5.0}, n=3)
    assert command("-q", "run") == 0
    assert stored(database, 1)["blend"]["users"] == 1
    second = stored(database, 2)
    assert command("-q", "forget", "u0") == 0
    assert stored(database, 1) == {}
    assert {model: figures["users"] for model, figures in stored(database, 2).items()} == {
        model: 3.0 for model, figures in second.items() if figures.get("raters") != 1
    }
    assert command("-q", "run", "--force") == 0
    assert stored(database, 2)["blend"]["users"] == 2


@on_sqlite
def test_the_page_has_a_chart(
    database: Database, nights: Faults, tmp_path: Path, output: Read
) -> None:
    """From two runs with an outcome on: what was promised, what was delivered, by popular films."""
    question = "Promised by the night, delivered by the world?"
    for run_id in (1, 2):
        rate(database, tmp_path, run_id, {1: 5.0} if run_id == 1 else {1: 5.0, 2: 4.0}, n=22)
        assert command("-q", "run") == 0
        output()
        assert command("report", "-o", str(tmp_path / "page.html")) == 0
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert (question in page) == (run_id == 2)
    lines = "run 1 to run 2: delivered from 0.200 to 0.400; promised from 0.200 to 0.200; popular"
    assert f'aria-label="{lines}' in page
    with database.reader.connect() as connection:
        trend = gather(connection).trend
    assert [run.outcome.get("blend", "precision") for run in trend] == [0.2, 0.4, None]


@on_sqlite
def test_prometheus_has_the_outcome_of_the_run_before(
    database: Database, nights: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A published run tells how the lists did that it replaces."""
    file = tmp_path / "recbatch.prom"
    monkeypatch.setenv("RECBATCH_METRICS__TEXTFILE", str(file))
    assert command("-q", "run") == 0
    assert "outcome_users" not in file.read_text()
    rate(database, tmp_path, 2, {1: 5.0, 2: 1.0}, n=22)
    assert command("-q", "run") == 0
    lines = file.read_text().splitlines()
    assert "recbatch_outcome_users 22.0" in lines
    assert 'recbatch_outcome_precision_ratio{model="blend"} 0.2' in lines
    assert 'recbatch_outcome_hit_ratio{model="blend"} 1.0' in lines
    assert 'recbatch_outcome_calibration_stars{model="blend"} 0.5' in lines
    assert any(
        line.startswith('recbatch_outcome_precision_ratio{model="popular"}') for line in lines
    )
