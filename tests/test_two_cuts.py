"""A night on films that rise and fade: what it chooses, records and shows in both cuts."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from batch.cli.sample_data import write_sample
from batch.models import PUBLISHED, REFERENCE
from batch.models.popular import choose_half_life, fading_counts
from batch.store.database import Database, open_database
from batch.store.load import load
from fixed import program
from reuse import share_results
from tables import rows

SEED = 20261123


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a published night, whose metrics are in metrics.prom."""
    folder = tmp_path_factory.mktemp("night")
    write_sample(folder / "in", n_users=300, n_items=500, times=True)
    with pytest.MonkeyPatch.context() as patch:
        share_results(patch)  # with the tests that evaluate these ratings again
        run = ran(folder, RECBATCH_METRICS__TEXTFILE="metrics.prom")
    assert run.startswith("in/ratings.csv")
    return folder


def ran(folder: Path, **environ: str) -> str:
    """What `recbatch run` prints in the folder."""
    done = program(folder, "-q", "run", "--force", RECBATCH_INGEST__PATHS="in", **environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def database_of(folder: Path) -> Database:
    return open_database(f"sqlite:///{folder / 'recbatch.db'}")


def chosen(folder: Path, run_id: int) -> tuple[object, ...]:
    """The headline, half-life and number of ratings that a run recorded."""
    sql = f"SELECT headline, half_life, least_ratings FROM runs WHERE run_id = {run_id}"
    [row] = rows(database_of(folder), sql)
    return row


def test_a_run_records_what_it_chose(night: Path) -> None:
    """The headline is `next`, and the half-life is the one that fits all ratings best."""
    with database_of(night).reader.connect() as connection:
        ratings = load(connection).ratings
    half_life = choose_half_life(ratings, SEED)
    assert half_life is not None
    headline, recorded, least_ratings = chosen(night, 1)
    assert (headline, recorded) == ("next", half_life)
    assert least_ratings in range(1, 11)


def test_strangers_get_what_is_popular_now(night: Path) -> None:
    """The popular list is in the order of fading counts, which is not that of plain ones."""
    with database_of(night).reader.connect() as connection:
        loaded = load(connection)
    _, half_life, _ = chosen(night, 1)
    assert isinstance(half_life, float)
    listed = rows(database_of(night), "SELECT movie_key, score FROM current_popular ORDER BY rank")
    for counts, same in (
        (fading_counts(loaded.ratings, half_life), True),
        (loaded.ratings.item_counts(), False),
    ):
        best = np.argsort(-counts, kind="stable")[:5]
        films = [(loaded.movie_keys[film], pytest.approx(counts[film], abs=1e-6)) for film in best]
        assert (listed == films) == same


def test_both_cuts_are_stored_with_intervals(night: Path) -> None:
    """Each model's accuracy is stored in both cuts; metrics of lists and stars with intervals."""
    stored = set(rows(database_of(night), "SELECT model, metric FROM run_metrics"))
    for model in (*PUBLISHED, *REFERENCE):
        for cut in ("next", "own"):
            names = [f"{cut}.ndcg{bound}@5" for bound in ("", "_low", "_high")]
            if not model.startswith("popular"):
                names += [f"{cut}.rmse{bound}" for bound in ("", "_low", "_high")]
            assert {(model, name) for name in names} <= stored


def test_evaluate_shows_both_cuts_the_headline_first(night: Path) -> None:
    """`evaluate` prints a table of each cut with the figures of its own; `run` the first one."""
    metrics = json.loads(program(night, "evaluate", "--json").stdout)
    printed = program(night, "evaluate").stdout
    first, second = re.split(r"(?=A fifth of each user's ratings, lists of 5)", printed)
    assert first.startswith("The newest ratings, lists of 5 (")
    for text, cut in ((first, "next"), (second, "own")):
        assert f"{metrics['blend'][f'{cut}.ndcg@5']:.3f}" in text
        assert f"({metrics['blend'][f'{cut}.users']:.0f} users liked a film" in text
    table = ran(night)
    assert "The newest ratings, lists of 5 (" in table
    assert "A fifth of" not in table


def test_prometheus_has_both_cuts(night: Path) -> None:
    """Each model's figures have the label of their cut."""
    text = (night / "metrics.prom").read_text()
    sql = "SELECT metric, value FROM run_metrics WHERE run_id = 1 AND model = 'blend'"
    stored = dict(rows(database_of(night), sql))
    for cut in ("next", "own"):
        rmse = stored[f"{cut}.rmse"]
        assert f'recbatch_rmse{{model="blend",cut="{cut}"}} {rmse!r}\n' in text


def test_the_report_shows_both_cuts(night: Path) -> None:
    """The page says what it measured on, and has a table of each cut."""
    assert program(night, "report", "1", "-o", "next.html").returncode == 0
    page = (night / "next.html").read_text(encoding="utf-8")
    assert "Measured on the newest ratings" in page
    assert 'aria-label="Accuracy"' in page
    assert "Accuracy on a fifth of each user" in page
    _, half_life, _ = chosen(night, 1)
    assert f"a rating counts half after {half_life:g} day" in page


def test_too_few_for_the_headline(night: Path) -> None:
    """Where `next` judges too few users `own` leads, and the page says so."""
    ran(night, RECBATCH_GATE__MIN_USERS_JUDGED="100000", RECBATCH_PUBLISH__LEAST_RATINGS="3")
    [(run_id,)] = rows(database_of(night), "SELECT max(run_id) FROM runs")
    headline, _, least_ratings = chosen(night, run_id)
    assert (headline, least_ratings) == ("own", 3)
    assert program(night, "report", str(run_id), "-o", "own.html").returncode == 0
    page = (night / "own.html").read_text(encoding="utf-8")
    [users] = rows(
        database_of(night),
        "SELECT value FROM run_metrics"
        f" WHERE run_id = {run_id} AND model = 'popular' AND metric = 'next.users'",
    )
    assert f"Only {users[0]:,.0f} users could be judged on the newest ratings." in page
    assert "in place of lists of users with fewer than 3 ratings" in page
