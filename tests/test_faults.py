"""Any one statement, commit or file write fails: lists stay whole, the next night works."""

import resource
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from batch.store import engines, publish
from batch.store.database import Database
from batch.store.digests import changed_models
from data import fill, long_csv
from faults import KINDS, Faults, Kind
from fixed import command
from processes import ended, in_child
from tables import leftovers, rows, selects, shown, shown_by
from templates import contents, snapshot

DONE, FAILED = 0, 1
ROUNDS = 1, len(KINDS)
"""On a commit each statement of its own text fails once, where it is first asked, in one way.

With --soak every one fails, once in each way.
"""

Read = Callable[[], str]
"""What this process has written to its outputs since the last call."""


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]) -> Read:
    """Reads what commands have printed and logged."""
    return lambda: "".join(capsys.readouterr())


def faulted(
    nights: Faults, output: Read, arguments: tuple[str, ...], at: int, kind: Kind
) -> tuple[int, int, str]:
    """Run a command with a fault; its exit code, how many statements it came to, its output.

    What it prints must be for people.
    """
    output()
    nights.plan(at, kind)
    code = command(*arguments)
    nights.rest()
    printed = output()
    require_plain(code, printed, at)
    return code, nights.count, printed


def require_plain(code: int, printed: str, where: int) -> None:
    """Fail unless a command ended in one of the two ways it may, without a traceback."""
    assert code in (DONE, FAILED), (where, printed)
    assert "Traceback" not in printed, (where, printed)


def night(nights: Faults, database: Database, output: Read, before: int | None) -> int:
    """The exit code of a night, which agrees with whether readers see a new run.

    Before it they see run `before`.
    """
    code, _, _ = faulted(nights, output, ("-q", "run"), 0, "before")
    require_agreement(code, shown(database), before, "no fault")
    return code


def require_agreement(code: int, now: int | None, before: int | None, at: object) -> None:
    """Fail unless a night's exit code agrees with whether readers see a new run."""
    assert code == (FAILED if now == before else DONE), at


def state_of(database: Database, weights: Path) -> str:
    """What the next command may depend on."""
    with selects(database) as select:
        return contents(select, weights)


def next_night(database: Database) -> None:
    """The one after trouble: it works without help, and nothing of the trouble is left."""
    assert command("-q", "run") == DONE
    assert leftovers(database) == []


@pytest.mark.promise("A7")
def test_any_statement_may_fail(
    nights: Faults,
    database: Database,
    output: Read,
    tmp_path: Path,
    often: Callable[[int, int], int],
    figure: Callable[[int], None],
) -> None:
    """If any statement or commit fails, exit code and view agree, and the next night works.

    Many faults leave the same rows and files: on a commit each such state has one next night,
    with --soak each fault.
    """
    next_night(database)
    next_night(database)  # from here on a night purges one
    weights, tries = tmp_path / "artifacts", 0
    no_evidence: Counter[Kind] = Counter()
    with snapshot(database, weights) as restore:
        before = shown(database)
        night(nights, database, output, before)
        places = nights.places(distinct=not often(0, 1))
        assert len(places) > 80
        for round_ in range(often(*ROUNDS)):
            outcomes: list[int] = []
            states: set[str] = set()
            for turn, at in enumerate(places):
                kind = KINDS[(turn + round_) % len(KINDS)]
                restore()
                code, reached, _ = faulted(nights, output, ("-q", "run"), at, kind)
                assert reached >= at  # the statement has had its turn
                outcomes.append(code)
                with selects(database) as select:
                    require_agreement(code, shown_by(select), before, at)
                    open_runs = select("SELECT run_id FROM runs WHERE status = 'running'")
                    state = contents(select, weights)
                no_evidence[kind] += len(open_runs)
                if often(0, 1) or state not in states:
                    states.add(state)
                    next_night(database)
            assert set(outcomes) == {DONE, FAILED}  # what fails once the list is out leaves it out
            assert len(states) > 5
            tries += len(outcomes)
    # A run that ends says so, but for one that was never told that it was opened.
    assert no_evidence["before"] == 0
    assert all(no_evidence[kind] <= 1 for kind in KINDS)
    figure(tries)


class Ingest:
    """Newer ratings of three people."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.time = database, 1_700_000_000
        file = folder / "newer.csv"
        file.write_text(long_csv([(f"u{user}", "m1", 5.0, self.time) for user in range(3)]))
        self.arguments = ("ingest", str(file))

    def done(self) -> bool:
        """All of them are there, or none."""
        [(there,)] = rows(
            self.database, f"SELECT count(*) FROM ratings WHERE rated_at = {self.time}"
        )
        assert there in (0, 3)
        return bool(there)


class Seen:
    """Films that three people have seen, one of them new, earlier than was known."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        later = folder / "later.csv"
        later.write_text("user,movie,time\nu1,m1,1700000000\nu2,m1,1700000000\n")
        assert command("ingest", "--seen", str(later)) == DONE
        file = folder / "earlier.csv"
        file.write_text("user,movie,time\nu1,m1,1600000000\nu2,m2,1600000000\nnew,m3,1600000000\n")
        self.arguments = ("ingest", "--seen", str(file))

    def done(self) -> bool:
        """All of them are there, with what they overwrote, or none."""
        with selects(self.database) as select:
            [(there,)] = select("SELECT count(*) FROM seen WHERE seen_at = 1600000000")
            [(overwritten,)] = select("SELECT count(*) FROM superseded_seen")
            [(new,)] = select("SELECT count(*) FROM users WHERE user_key = 'new'")
        assert (there, overwritten, new) in ((0, 0, 0), (3, 1, 1))
        return bool(there)


class Undo:
    """Of a file that overwrote two ratings and brought a user and a film."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.before = self.stored()
        pairs = "SELECT user_key, movie_key FROM ratings"
        joined = f"{pairs} JOIN users USING (user_id) JOIN movies USING (movie_id) ORDER BY 1, 2"
        lines = [(*pair, 5.0, 1_700_000_000) for pair in rows(database, joined)[:2]]
        file = folder / "wrong.csv"
        file.write_text(long_csv([*lines, ("new", "only here", 5.0, 1)]))
        assert command("ingest", str(file)) == DONE
        self.after = self.stored()
        [(batch_id,)] = rows(database, "SELECT max(batch_id) FROM ingest_batches")
        self.arguments = ("ingest", "undo", str(batch_id))

    def stored(self) -> list[list[tuple[Any, ...]]]:
        """All that the file changed."""
        with selects(self.database) as select:
            return [
                sorted(select(f"SELECT * FROM {table}"), key=repr)
                for table in ("ratings", "superseded_ratings", "users", "movies")
            ]

    def done(self) -> bool:
        """All is as before the file, and its batch says so, or all is as after it."""
        newest = "SELECT status FROM ingest_batches ORDER BY batch_id DESC LIMIT 1"
        [(status,)] = rows(self.database, newest)
        assert self.stored() == (self.before if status == "undone" else self.after)
        return bool(status == "undone")


class Rollback:
    """To the run before."""

    arguments = ("rollback",)

    def __init__(self, database: Database, _folder: Path) -> None:
        self.database, self.before = database, shown(database)

    def done(self) -> bool:
        """Readers see the other run, or the one they saw."""
        return shown(self.database) != self.before


class Purge:
    """Of a run that nobody needs."""

    arguments = ("purge", "--keep", "2")

    def __init__(self, database: Database, _folder: Path) -> None:
        self.database = database
        while self.done():
            assert command("-q", "run", "--no-publish") == DONE

    def done(self) -> bool:
        """Beside the current run and the one before, the newest two have lists."""
        held = rows(self.database, "SELECT run_id, count(*) FROM recommendations GROUP BY run_id")
        assert len({count for _, count in held}) == 1
        return len(held) <= 4


class Trim:
    """Of runs that are no longer the current one or the one before it."""

    arguments = ("purge", "--keep", "9")

    def __init__(self, database: Database, _folder: Path) -> None:
        self.database = database
        for _ in range(2):
            assert command("-q", "run", "--no-publish") == DONE
        assert command("publish", "4") == DONE  # 2 was current, and nothing was deleted since

    def done(self) -> bool:
        """1 and 3 have lost their spare rows, each with its counts and digests, or have all."""
        lengths = dict(rows(self.database, LENGTHS))
        counts = dict(rows(self.database, SPARE_COUNTS))
        with self.database.reader.connect() as connection:
            for run_id, length in lengths.items():
                assert (length > 5) == (counts[run_id] > 0)
                assert changed_models(connection, run_id) == []
        assert min(lengths[2], lengths[4]) > 5
        return max(lengths[1], lengths[3]) == 5


class Refresh:
    """Of someone who rated since the night, and of someone new."""

    arguments = ("-q", "refresh")
    like = ("-q", "run")

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.before = self.stored()
        rated = [("u3", "m1", 5.0, 1_700_000_000), ("brand new", "m2", 4.0, 1)]
        file = folder / "rated.csv"
        file.write_text(long_csv(rated))
        assert command("ingest", str(file)) == DONE

    def stored(self) -> list[tuple[Any, ...]]:
        """What the night wrote."""
        current = "SELECT run_id FROM publication"
        lists = f"SELECT * FROM recommendations WHERE run_id = ({current}) ORDER BY 1, 2, 3, 4"
        return rows(self.database, lists)

    def done(self) -> bool:
        """Both are shown whole new lists, or neither is, and the night's are as they were."""
        assert self.stored() == self.before
        found = rows(self.database, "SELECT * FROM refreshed_users")
        assert len(found) in (0, 2)
        new = "SELECT count(*) FROM current_recommendations WHERE user_key = 'brand new'"
        assert rows(self.database, new) == [(20 if found else 0,)]
        return bool(found)


LENGTHS = "SELECT run_id, max(rank) FROM recommendations GROUP BY run_id"
SPARE_COUNTS = """
    SELECT r.run_id, min(r.spare) + sum(m.value) FROM runs r JOIN run_metrics m
    ON m.run_id = r.run_id AND m.metric = 'spare_rows' GROUP BY r.run_id"""


class Forget:
    """Of someone who is in the published run and in a file of weights."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.user = database, "gone"
        ratings = [(self.user, "m1", 5.0, 1), (self.user, "m2", 4.0, 1)]
        fill(database, folder / "people", ratings)
        assert command("-q", "run") == DONE
        self.arguments = ("forget", self.user)
        self.weights = folder / "artifacts"

    def done(self) -> bool:
        """They are nowhere, or everywhere."""
        with selects(self.database) as select:
            known = select(f"SELECT user_id FROM users WHERE user_key = '{self.user}'")
            for table in ("ratings", "recommendations"):
                strangers = (
                    f"SELECT count(*) FROM {table} WHERE user_id NOT IN (SELECT user_id FROM users)"
                )
                assert select(strangers) == [(0,)]
        assert known or not list(self.weights.iterdir())
        return not known


@pytest.mark.promise("A7")
@pytest.mark.parametrize("work", [Ingest, Seen, Undo, Rollback, Purge, Trim, Forget, Refresh])
def test_any_statement_of_other_commands_may_fail(
    work: Any,
    nights: Faults,
    database: Database,
    output: Read,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    often: Callable[[int, int], int],
    figure: Callable[[int], None],
) -> None:
    """If any fails, the command is done whole or not at all, as its exit code says.

    What was not done is done by the same command again: on a commit once for each state of rows
    and files that faults left, with --soak after each fault. On a commit statements that a command
    has in common with one it is `like`, which is tried too, do not fail a second time.
    """
    next_night(database)
    monkeypatch.setenv("RECBATCH_PUBLISH__KEEP_RUNS", "5")
    # A process that ends frees its locks; in this one a SQLite connection that was closed under
    # a cursor may hold up a checkpoint for as long as it waits.
    impatient = ("busy_timeout = 500", *engines._SETTINGS[1:])
    monkeypatch.setattr(engines, "_SETTINGS", impatient)
    asked = work(database, tmp_path)
    assert not asked.done()
    weights, tries = tmp_path / "artifacts", 0
    repeated: set[str] = set()
    with snapshot(database, weights) as restore:
        before = state_of(database, weights)
        in_common: set[str] = set()
        if hasattr(asked, "like") and not often(0, 1):
            faulted(nights, output, asked.like, 0, "before")
            in_common.update(nights.asked)
            restore()
        faulted(nights, output, asked.arguments, 0, "before")
        places = nights.places(distinct=not often(0, 1))
        places = [at for at in places if nights.asked[at - 1] not in in_common]
        assert len(places) > 10
        is_restored = False
        for round_ in range(often(*ROUNDS)):
            for turn, at in enumerate(places):
                kind = KINDS[(turn + round_) % len(KINDS)]
                if not is_restored:
                    restore()
                code, reached, printed = faulted(nights, output, asked.arguments, at, kind)
                done = asked.done()
                assert done or code == FAILED, (at, kind)
                says_so = kind != "before" or "the rows are deleted" in printed
                assert not (done and code == FAILED) or says_so, (at, kind)
                with selects(database) as select:
                    shown_by(select)
                    state = contents(select, weights)
                # A SQLite connection that a fault left open has the file that is then replaced.
                is_restored = state == before and database.file is None
                if not done and (often(0, 1) or state not in repeated):
                    repeated.add(state)
                    is_restored = False
                    # pytest's log keeps a cursor whose connection is gone: a reader to SQLite.
                    code = command(*asked.arguments)
                    assert code == DONE or "a reader that began before" in output()
                    assert asked.done()
                assert reached >= at
            tries += len(places)
    next_night(database)
    figure(tries)


@pytest.mark.promise("A8")
@pytest.mark.parametrize("kind", ["after", "closed"])
def test_a_commit_whose_answer_is_lost_is_told_as_it_went(
    kind: Kind,
    nights: Faults,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    often: Callable[[int, int], int],
    figure: Callable[[int], None],
) -> None:
    """A night or rollback whose last commit was done without an answer reports success, once."""
    assert command("-q", "run") == DONE
    times = often(3, 10)
    for name, arguments in (("publish", ["-q", "run"]), ("republish", ["rollback"])) * times:
        work = getattr(publish, name)

        def then_lose(*given: Any, work: Any = work, **named: Any) -> None:
            work(*given, **named)
            nights.plan(1, kind)  # what comes next is the commit

        with monkeypatch.context() as patch:
            patch.setattr(publish, name, then_lose)
            before = shown(database)
            assert command(*arguments) == DONE
        nights.rest()
        assert nights.count > 1
        assert shown(database) != before
    figure(2 * times)


@contextmanager
def room_for(pages: int) -> Any:
    """Databases that may grow by so many pages, as on a disk that is nearly full."""

    def limit(connection: Any, _record: object) -> None:
        [(used,)], [(free,)] = (
            connection.execute(f"PRAGMA {of}_count").fetchall() for of in ("page", "freelist")
        )
        connection.execute(f"PRAGMA max_page_count = {used - free + pages}")

    event.listen(Engine, "connect", limit)
    try:
        yield
    finally:
        event.remove(Engine, "connect", limit)


@pytest.mark.promise("A7")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_full_disk(
    nights: Faults,
    database: Database,
    output: Read,
    monkeypatch: pytest.MonkeyPatch,
    often: Callable[[int, int], int],
    figure: Callable[[int], None],
) -> None:
    """If the disk is full at any point, the list stays, and the next night, with room, works."""
    monkeypatch.setenv("RECBATCH_PUBLISH__KEEP_RUNS", "100")  # so that each night needs more room
    outcomes = []
    for pages in range(0, 20, often(2, 1)):
        with room_for(pages):
            outcomes.append(night(nights, database, output, shown(database)))
        next_night(database)
    assert set(outcomes) == {DONE, FAILED}
    figure(len(outcomes))


@pytest.mark.usefixtures("nights")
@pytest.mark.promise("A7")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_file_that_cannot_grow(
    database: Database,
    tmp_path: Path,
    often: Callable[[int, int], int],
    figure: Callable[[int], None],
) -> None:
    """With any limit on the size of files, a night that needs more fails cleanly."""
    log = tmp_path / "log"
    outcomes = []
    for most in range(4_000, 404_000, often(40_000, 20_000)):

        def work(most: int = most) -> int:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))  # for the rest of the process
            return command("-q", "run")

        before = shown(database)
        log.unlink(missing_ok=True)
        code = ended(in_child(work, log))
        require_plain(code, log.read_text(), most)
        assert code == (FAILED if shown(database) == before else DONE), most
        outcomes.append(code)
        next_night(database)
    assert set(outcomes) == {DONE, FAILED}
    figure(len(outcomes))
