"""Who would like a film most: the scores by slower ways, and the command on both databases."""

import json
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sqlalchemy import text

from batch.job import audience as job
from batch.ranking import ensemble as ensembles
from batch.ranking.audience import Appeal, appeal, eligible
from batch.ranking.blend_weights import Weights
from batch.ranking.ensemble import Ensemble, assemble
from batch.ranking.evaluate import fit_all
from batch.ranking.mask import Mask
from batch.ratings import Floats, Ints, Pairs, Ratings
from batch.store.database import Database
from data import long_csv
from faults import Faults
from fixed import Fixed, command, program
from reference import ratings_of
from tables import rows
from test_ensemble import QUICK, everyone, generated, of_every_film
from test_spare import mark_as_seen, rate

LATER = 1_700_000_000
ITEMS = (0, 7, 33, 59)


@pytest.fixture(scope="module")
def unweighted() -> Ensemble:
    """Models of 40 users and 60 films, without weights of a blend."""
    ratings = generated(3, 40, 60)
    return assemble(ratings, fit_all(ratings, QUICK, 0, epochs=3), None)


@pytest.fixture
def weighted(unweighted: Ensemble, monkeypatch: pytest.MonkeyPatch) -> Ensemble:
    """The same with weights at random, and so few candidates that most films are none."""
    monkeypatch.setattr(ensembles, "CANDIDATES", 12)
    monkeypatch.setattr(ensembles, "HOTTEST", 3)
    names = tuple(next(iter(unweighted.candidate_features(np.arange(1), 1))).of_candidates)
    random = np.random.default_rng(4)
    n = len(names)
    weights = Weights(
        names=names,
        stars=random.normal(scale=0.1, size=n),
        products=np.triu(random.normal(scale=0.01, size=(n, n))),
        level=0.1,
        mean=random.normal(size=n),
        spread=random.uniform(1, 2, n),
        relevance=random.normal(scale=0.3, size=n),
        odds=-1.0,
        list_spread=random.uniform(1, 2, n),
        n_pairs=1,
        n_liked=1,
        n_trend=0,
    )
    ratings = unweighted.ratings
    return assemble(ratings, unweighted.models, weights, masked(ratings), 0.0, unweighted.learnt)


def masked(ratings: Ratings) -> Mask:
    """Two films filtered for everyone, and a twentieth of all cells for their users."""
    hidden = np.random.default_rng(5).random(ratings.matrix.shape) < 0.05
    return Mask(np.array([3, 11]), sparse.csr_array(hidden.astype(np.float64)))


def slow(scorer: Ensemble, user: int, item: int) -> float:
    """The score that the film has beside the user's candidates, feature by feature."""
    assert scorer.blend is not None
    weights = scorer.blend.weights
    assert weights is not None
    users = np.array([user])
    of_all = of_every_film(scorer, users)
    [block] = scorer.candidate_features(users, 1)
    odds = weights.odds
    for place, name in enumerate(weights.names):
        levels = [float(of_all[name][0, film]) for film in block.candidates.columns.tolist()]
        departure = float(of_all[name][0, item]) - sum(levels) / len(levels)
        odds += departure / weights.list_spread[place] * weights.relevance[place]
    return 1 / (1 + exp(-odds))


@pytest.mark.parametrize("block", [1, 7, 100])
def test_scores_are_those_of_the_formula(weighted: Ensemble, block: int) -> None:
    """Each user's score is computed beside their own candidates, whatever users are scored with."""
    users = np.arange(1, 40, 3)
    for item in ITEMS:
        found = appeal(weighted, item, users, block)
        assert found.users.tolist() == users.tolist()
        expected = [slow(weighted, user, item) for user in users.tolist()]
        np.testing.assert_allclose(found.score, expected, rtol=1e-9)


def test_scores_are_those_of_the_lists(weighted: Ensemble) -> None:
    """A film that is in a user's list has its score there, and every film its stars."""
    users = everyone(weighted.ratings)
    lists = weighted.rank_users(["blend"], users, 12)["blend"]
    n_compared = 0
    for item in range(weighted.ratings.n_items):
        found = appeal(weighted, item, users, 16)
        is_listed = (lists.listed == item) & (lists.score >= 0)  # others are no candidates
        listed_by, places = np.nonzero(is_listed)
        expected = lists.score[listed_by, places]
        np.testing.assert_allclose(found.score[listed_by], expected, rtol=1e-12)
        n_compared += len(listed_by)
    assert n_compared > 300
    cells = Pairs(users, np.full(len(users), 7))
    stars = weighted.rank_users(["blend"], users, 1, cells)["blend"].predicted
    np.testing.assert_allclose(appeal(weighted, 7, users, 16).rating, stars, rtol=1e-12)


def test_without_weights_scores_are_those_of_the_lists(unweighted: Ensemble) -> None:
    """Where a blend was not learnt, its lists and this have the score of learnt taste."""
    users = everyone(unweighted.ratings)
    lists = unweighted.rank_users(["blend"], users, 60)["blend"]
    found = appeal(unweighted, 7, users, 16)
    listed_by, places = np.nonzero((lists.listed == 7) & (lists.score >= 0))
    assert len(listed_by) > 10
    np.testing.assert_allclose(found.score[listed_by], lists.score[listed_by, places], rtol=1e-12)


def test_a_user_without_candidates_is_left_out(weighted: Ensemble) -> None:
    """There is nothing to judge a film beside, for somebody who may be shown no other."""
    hidden = np.zeros(weighted.ratings.matrix.shape)
    hidden[4] = 1.0
    hidden[4, 7] = 0.0
    rare = weighted.candidate_films.copy()
    rare[7] = False
    mask = Mask(np.empty(0, dtype=np.int64), sparse.csr_array(hidden))
    scorer = replace(weighted, mask=mask, candidate_films=rare)
    scorer = replace(scorer, models={**scorer.models, "popular": scorer.models["popular_all"]})
    assert appeal(scorer, 7, np.array([3, 4, 5]), 16).users.tolist() == [3, 5]


def test_who_may_be_shown_the_film() -> None:
    """All with enough ratings, but who rated it, and whom it is filtered for or who saw it."""
    stars = np.where(np.random.default_rng(6).random((30, 12)) < 0.3, 4.0, np.nan)
    stars[8] = np.nan
    ratings = ratings_of(stars)
    mask = masked(ratings)
    hidden = mask.for_user.toarray()
    counts = (~np.isnan(stars)).sum(axis=1)
    for item in range(12):
        for least in (0, 1, 4):
            expected = [
                user
                for user in range(30)
                if np.isnan(stars[user, item])
                and not hidden[user, item]
                and item not in (3, 11)
                and counts[user] >= max(least, 1)
            ]
            assert eligible(ratings, mask, item, least).tolist() == expected


# The command


def said(users: Ints, item: int) -> Floats:
    """A score by fixed arithmetic, in which some are equal."""
    return ((users * 7 + item * 13) % 5) / 10.0


@pytest.fixture
def fixed(nights: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """A published night of fixed arithmetic, and as simple scores."""
    assert nights

    def restored(_base: object, kept: Any, ratings: Ratings, *_: object) -> Fixed:
        assert set(kept.arrays) == {"fixed"}
        return Fixed(ratings)

    def scored(ensemble: Fixed, item: int, users: Ints, _block: int) -> Appeal:
        assert ensemble.ratings.n_users
        return Appeal(users, said(users, item), 3.0 + users / 100)

    monkeypatch.setattr(job, "restored_ensemble", restored)
    monkeypatch.setattr(job, "appeal", scored)


def answer_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What the command prints as JSON."""
    capsys.readouterr()
    assert command("audience", *arguments, "--json") == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def expected(database: Database, film: str, least: int = 1) -> list[tuple[object, ...]]:
    """Rank, key, score and stars of everyone who may be shown a film, row by row."""
    users = [key for (key,) in rows(database, "SELECT user_key FROM users ORDER BY user_key")]
    films = [key for (key,) in rows(database, "SELECT movie_key FROM movies ORDER BY movie_key")]
    counts = dict(rows(database, "SELECT user_key, count(*) FROM ratings JOIN users USING (user_id)"
                                 " GROUP BY user_key"))  # fmt: skip
    pair = "JOIN movies USING (movie_id) WHERE movie_key = '" + film + "'"
    gone = {
        key
        for table in ("ratings", "seen", "item_filters")
        for (key,) in rows(
            database, f"SELECT user_key FROM {table} JOIN users USING (user_id) {pair}"
        )
    }
    left = [
        (-float(said(np.array([row]), films.index(film))[0]), key, 3.0 + row / 100)
        for row, key in enumerate(users)
        if key not in gone and counts.get(key, 0) >= least
    ]
    left.sort(key=lambda member: member[:2])
    return [(rank, key, -score, stars) for rank, (score, key, stars) in enumerate(left, 1)]


def listed(answer: dict[str, Any]) -> list[tuple[object, ...]]:
    """Rank, key, score and stars of each user in an answer."""
    keys = ("rank", "user_key", "score", "predicted_rating")
    return [tuple(user[key] for key in keys) for user in answer["users"]]


@pytest.mark.usefixtures("fixed")
def test_everyone_who_may_be_shown_it(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who rated, saw or has a filter is out, somebody new is in; equal scores are by key."""
    before = listed(answer_of(capsys, "m3", "-n", "100"))
    assert before == expected(database, "m3")
    likely = [key for _, key, *_ in before][:4]
    rate(database, [(str(likely[0]), "m3")])
    mark_as_seen(database, [(str(likely[1]), "m3")])
    assert command("filter", "add", "m3", "--user", str(likely[2])) == 0
    file = tmp_path / "new.csv"
    file.write_text(long_csv([("brand new", "m1", 4.0, LATER)]))
    assert command("ingest", str(file)) == 0
    after = answer_of(capsys, "m3", "-n", "100")
    assert listed(after) == expected(database, "m3")
    assert {key for _, key, *_ in listed(after)} == (
        {key for _, key, *_ in before} - set(likely[:3]) | {"brand new"}
    )
    assert (after["movie_key"], after["title"], after["run_id"]) == ("m3", "m3", 1)
    assert after["scored"] == len(after["users"])
    assert listed(answer_of(capsys, "m3", "-n", "4")) == listed(after)[:4]
    assert rows(database, "SELECT count(*) FROM runs") == [(1,)]


@pytest.mark.usefixtures("fixed")
def test_users_who_get_popular_films_are_left_out(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """With fewer ratings than the run asked for; in `plain` nobody gets popular films."""
    with database.writer.begin() as connection:
        connection.execute(text("UPDATE runs SET least_ratings = 12"))
    few = listed(answer_of(capsys, "m3"))
    assert few == expected(database, "m3", least=12)
    with database.writer.begin() as connection:
        connection.execute(text("UPDATE runs SET preset = 'plain'"))
    assert len(few) < len(listed(answer_of(capsys, "m3"))) == len(expected(database, "m3"))


@pytest.mark.usefixtures("fixed")
def test_the_table(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """The terminal shows stars and score; a film that is filtered for everyone has no audience."""
    [(_, key, score, stars), *others] = expected(database, "m3")
    capsys.readouterr()
    assert command("audience", "m3", "-n", "1") == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == f"m3: the first 1 of {len(others) + 1} users"
    assert lines[2].split() == ["1", key, f"{stars:.2f}", f"{score:.3f}"]
    assert command("filter", "add", "m3") == 0
    capsys.readouterr()
    assert command("audience", "m3") == 0
    assert capsys.readouterr().out.startswith("nobody to show m3 to: ")


def refused(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """The one line of a command that fails."""
    capsys.readouterr()
    assert command("-q", "audience", *arguments) == code
    [line] = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.usefixtures("nights")
def test_what_cannot_be_answered(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says why: an unknown film, weights that are damaged, gone, or deleted."""
    assert "no film has the key or title 'Mm3'" in refused(capsys, 2, "Mm3")
    with database.writer.begin() as connection:
        connection.execute(text("INSERT INTO movies VALUES (99, 'lost', 'Lost', NULL, 1)"))
    assert "has no ratings" in refused(capsys, 2, "Lost")
    assert "did you mean 'Lost'" in refused(capsys, 2, "Losst")
    [file] = (tmp_path / "artifacts").iterdir()
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    assert "is not the file that the run wrote; the next run makes" in refused(capsys, 1, "m3")
    file.unlink()
    assert "No such file" in refused(capsys, 1, "m3")
    assert command("forget", "--yes", "u4") == 0
    assert "what it learnt is not stored; the next run" in refused(capsys, 1, "m3")


def test_nothing_is_published_yet(tmp_path: Path) -> None:
    """The line says how to begin."""
    (tmp_path / "ratings.csv").write_text(long_csv([("u1", "m1", 4.0, 1)]))
    assert program(tmp_path, "ingest", "ratings.csv").returncode == 0
    ended = program(tmp_path, "audience", "m1")
    assert ended.returncode == 1
    assert "nothing is published yet; run 'recbatch run'" in ended.stderr
