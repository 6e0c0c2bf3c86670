"""Similar films: written by a run, read by view, query and command, on both databases."""

import json
from pathlib import Path

import pytest
from sqlalchemy import text

from batch import query
from batch.audit.integrity import audit_integrity
from batch.config import FilterSettings
from batch.job import steps
from batch.models.similar_films import similar_films
from batch.store import digests
from batch.store.database import Database
from data import fill, long_csv, random_rows
from faults import Faults
from fixed import command
from tables import rows, shown
from test_similar_films import slow

SIMILAR = "SELECT movie_key, rank, other_key, score, support FROM current_similar"
ORDER = "ORDER BY movie_key, rank"
KEYS = sorted(f"m{number}" for number in range(40))
AFTER_M3 = KEYS[KEYS.index("m3") + 1 :][:10]
"""Fixed arithmetic lists the films that come next by key; m30 to m39."""


def read(database: Database, film: str, n: int | None = None) -> query.SimilarFilms:
    """The answer of the query module."""
    with database.reader.connect() as connection:
        return query.similar(connection, film, n=n)


def test_stored_lists_are_those_of_the_definition(
    database: Database, nights: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a night writes, the view shows and `query` returns are the lists of the slow formula."""
    loaded = []

    def remember(ratings: object, *given: object) -> object:
        loaded.append(ratings)
        return similar_films(ratings, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(steps, "similar_films", remember)
    assert command("-q", "run") == 0
    [ratings] = loaded
    key_of = dict(rows(database, "SELECT movie_id, movie_key FROM movies"))
    keys = [key_of[movie_id] for movie_id in ratings.movie_ids.tolist()]  # type: ignore[attr-defined]
    expected = [
        (keys[film], rank, keys[other], round(score, 6), support)
        for film, films in enumerate(slow(ratings, 10))  # type: ignore[arg-type]
        for rank, (other, score, support) in enumerate(films, 1)
    ]
    expected.sort()
    listed = rows(database, f"{SIMILAR} {ORDER}")
    assert [row[:3] + row[4:] for row in sorted(listed)] == [row[:3] + row[4:] for row in expected]
    assert [row[3] for row in sorted(listed)] == pytest.approx(
        [row[3] for row in expected], abs=1.1e-6
    )
    answer = read(database, "m3")
    assert [(f.rank, f.movie_key, f.score, f.support) for f in answer.films] == [
        row[1:] for row in listed if row[0] == "m3"
    ]
    assert (answer.title, answer.run_id) == ("m3", 2)
    support = answer.films[0].support
    assert answer.films[0].why == f"Liked by {support} of the same people."
    assert read(database, "m3", 4).films == answer.films[:4]


def test_a_list_is_as_long_as_the_setting(
    database: Database, nights: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`similar.n` films for each film; with 0 there are none, and the night is published."""
    assert rows(database, f"{SIMILAR} WHERE rank > 10") == []
    assert len(rows(database, SIMILAR)) == 400
    monkeypatch.setenv("RECBATCH_SIMILAR__N", "3")
    assert command("-q", "run") == 0
    assert len(rows(database, SIMILAR)) == 120
    monkeypatch.setenv("RECBATCH_SIMILAR__N", "0")
    assert command("-q", "run") == 0
    assert rows(database, SIMILAR) == []
    with pytest.raises(query.NoSimilarFilmsError, match="the next run makes them"):
        read(database, "m3")
    assert command("similar", "m3") == 2


def test_filtered_films_are_hidden_at_once_and_left_out_next(
    database: Database, nights: Faults
) -> None:
    """A film that is filtered for everyone is no film's neighbour; one user's filter hides none."""
    assert [film.movie_key for film in read(database, "m3").films] == AFTER_M3
    assert command("filter", "add", "m30") == 0
    assert command("filter", "add", "m31", "--user", "u1") == 0
    by_query = [(film.rank, film.movie_key) for film in read(database, "m3").films]
    assert by_query == list(enumerate(AFTER_M3, 1))[1:]
    assert rows(database, f"{SIMILAR} WHERE other_key = 'm30'") == []
    of_m3 = "SELECT rank, other_key FROM current_similar WHERE movie_key = 'm3' ORDER BY rank"
    assert rows(database, of_m3) == by_query
    assert command("-q", "run") == 0
    assert [film.rank for film in read(database, "m3").films] == list(range(1, 10))
    [(n_rows,)] = rows(database, "SELECT count(*) FROM similar_items WHERE run_id = 2")
    assert n_rows == 390
    assert read(database, "m30").films  # it has a list of its own, and is in no other


def test_lists_follow_the_pointer_and_go_with_their_run(database: Database, nights: Faults) -> None:
    """Rollback shows the lists of the run before; purge deletes those of old runs, no others."""
    for _ in range(3):
        assert command("-q", "run", "--force") == 0
    assert command("rollback") == 0
    assert shown(database) == 3
    assert {row[0] for row in rows(database, "SELECT run_id FROM current_similar")} == {3}
    assert command("purge", "--keep", "2") == 0
    kept = rows(database, "SELECT DISTINCT run_id FROM similar_items ORDER BY run_id")
    assert kept == [(3,), (4,)]


def pairs(database: Database, user: str) -> list[tuple[object, ...]]:
    """The rows that a user's ratings alone may support."""
    rated = f"SELECT movie_id FROM ratings JOIN users USING (user_id) WHERE user_key = '{user}'"
    return rows(
        database,
        "SELECT run_id, movie_id, other_id FROM similar_items WHERE support = 1"
        f" AND movie_id IN ({rated}) AND other_id IN ({rated})",
    )


def test_forgetting_leaves_no_pair_that_one_person_liked(
    database: Database, nights: Faults
) -> None:
    """Rows of two films that the person rated go where nobody else liked both; others stay."""
    assert command("-q", "run") == 0
    every = "SELECT run_id, movie_id, other_id, score, support FROM similar_items"
    before = set(rows(database, every))
    gone = pairs(database, "u3")
    assert {row[0] for row in gone} == {1, 2}
    assert len(gone) < len(before) / 2
    assert command("forget", "u3") == 0
    after = set(rows(database, every))
    assert after == {row for row in before if row[:3] not in gone}
    with database.reader.connect() as connection:
        for run_id in (1, 2):
            assert digests.changed_models(connection, run_id) == []
            checks = audit_integrity(connection, run_id, FilterSettings())
            assert [check.name for check in checks if not check.passed] == []
    assert command("rollback") == 0


def test_a_change_by_hand_is_noticed_after_forgetting_too(
    database: Database, nights: Faults
) -> None:
    """Forgetting renews the digest for what it deletes, and does not approve of what it finds."""
    [(movie_id, *_)] = [row[1:] for row in pairs(database, "u3")][:1]
    with database.writer.begin() as connection:
        changed = f"UPDATE similar_items SET score = 0 WHERE movie_id = {movie_id} AND rank = 10"
        assert connection.execute(text(changed)).rowcount == 1
    assert command("forget", "u3") == 0
    with database.reader.connect() as connection:
        assert digests.changed_models(connection, 1) == ["similar"]


@pytest.mark.parametrize("side", ["movie_id", "other_id"])
def test_films_that_only_these_lists_name_stay_until_the_lists_go(
    database: Database, nights: Faults, tmp_path: Path, side: str
) -> None:
    """After undo a film is kept while a similar list has it, on either side, and goes with it."""
    wrong = tmp_path / "wrong.csv"
    wrong.write_text(long_csv([("u1", "extra", 5, 1_700_000_000)]))
    assert command("ingest", str(wrong)) == 0
    assert command("-q", "run", "--force") == 0
    named = "SELECT 1 FROM current_similar WHERE {} = 'extra'"
    assert rows(database, named.format("movie_key"))
    assert rows(database, named.format("other_key"))
    assert command("ingest", "undo", "3") == 0
    extra = "SELECT 1 FROM movies WHERE movie_key = 'extra'"
    with database.writer.begin() as connection:
        elsewhere = {"recommendations": "movie_id", "popular_items": "movie_id"}
        elsewhere["similar_items"] = "other_id" if side == "movie_id" else "movie_id"
        for table, column in elsewhere.items():
            named_extra = f"{column} = (SELECT movie_id FROM movies WHERE movie_key = 'extra')"
            connection.execute(text(f"DELETE FROM {table} WHERE {named_extra}"))
    assert command("-q", "run", "--force") == 0
    assert rows(database, named.format("other_key")) == []
    assert rows(database, extra)
    assert command("-q", "run", "--force") == 0
    assert command("purge", "--keep", "2") == 0
    assert rows(database, extra) == []


def test_the_command(
    database: Database, nights: Faults, capsys: pytest.CaptureFixture[str]
) -> None:
    """`similar` prints films with reasons, or JSON; exits 2 for a film or run that is not there."""
    capsys.readouterr()
    assert command("similar", "m3", "-n", "2") == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "Like m3: run 1"
    assert [line.split() for line in lines[2:6]] == [
        ["1", "m30", "0.500"],
        ["Liked", "by", "2", "of", "the", "same", "people."],
        ["2", "m31", "0.333"],
        ["Liked", "by", "1", "of", "the", "same", "people."],
    ]
    assert command("similar", "m3", "--run", "1", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [film["movie_key"] for film in answer["films"]] == AFTER_M3
    assert command("similar", "mm3") == 2
    assert "no film has the key or title 'mm3'" in capsys.readouterr().err
    assert command("similar", "m3", "--run", "7") == 2


def test_a_film_without_evidence(
    database: Database, tmp_path: Path, nights: Faults, capsys: pytest.CaptureFixture[str]
) -> None:
    """A film that came after the run, or that nobody liked with another, has no list."""
    new = tmp_path / "new.csv"
    new.write_text(long_csv([("u1", "newest", 5, 1_700_000_000)]))
    assert command("ingest", str(new)) == 0
    capsys.readouterr()
    assert command("similar", "newest") == 0
    out = capsys.readouterr().out
    assert out == (
        "nothing is known to be like newest: in run 1 nobody had liked it and another film\n"
    )
    assert command("similar", "Newst") == 2
    assert "did you mean 'newest'?" in capsys.readouterr().err


def test_a_film_that_does_not_exist(database: Database, nights: Faults) -> None:
    """`query` takes keys only, and says which is none."""
    with pytest.raises(query.UnknownFilmError, match="'no such'"):
        read(database, "no such")


def test_before_the_first_run(database: Database, tmp_path: Path) -> None:
    """Without a published run there is an error with the way to one."""
    from tables import with_tables

    with_tables(database.url.render_as_string(hide_password=False))
    fill(database, tmp_path / "files", random_rows(0)[:5])
    with pytest.raises(query.NoSuchRunError, match="nothing is published yet"):
        read(database, "m3")
