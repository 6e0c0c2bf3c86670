"""Reasons in whole runs, in SQL and in commands, and the explanation of any pair."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from batch import query
from batch.config import Config, FilterSettings
from batch.job import explain_pair, nightly
from batch.job.nightly import Order
from batch.models import PUBLISHED
from batch.models.baseline import fit_baseline
from batch.params import PRESETS
from batch.reasons import SHARES
from batch.store.database import Database, open_database
from batch.store.filters import synchronise
from batch.store.load import load
from batch.store.versions import upgrade
from data import fill, random_rows, settings
from fixed import command
from tables import rows

DAY = date(2026, 11, 23)
PAGE = Path(__file__).parents[1] / "docs" / "reasons.md"
ROUNDED = 0.0005 + 1e-6
"""Half of the last digit of a sum of weights in stars, and of predicted_rating."""
FIRST_ID = 98765 * 10**5
"""The users' ids begin here, so that no other number is mistaken for one."""
RATED_ALMOST_ALL = "rated almost all"
"""A user who has rated almost every candidate, so that fillers complete the blend's list."""
TITLED_TWICE = "UPDATE movies SET title = 'Twice' WHERE movie_key IN ('m1', 'm2')"


def with_users(database: Database, folder: Path) -> None:
    """60 users with unmistakable ids, one who rated almost all, and films with one rating."""
    own = [(RATED_ALMOST_ALL, f"m{i}", 1 + i % 5, 10**9 + i) for i in range(58)]
    obscure = [(f"u{i}", f"solo{i}", 5, 10**9 + i) for i in range(6)]
    fill(database, folder, [*random_rows(0, 60, 60, 0.35), *own, *obscure])
    with database.writer.begin() as connection:
        for table in ("users", "ratings"):
            connection.execute(text(f"UPDATE {table} SET user_id = user_id + {FIRST_ID}"))


def preset_variables(preset: str) -> dict[str, str]:
    return {"RECBATCH_MODELS__PRESET": preset, "RECBATCH_MODELS__NEURAL__EPOCHS": "20"}


@dataclass
class Run:
    """A published run, its settings and its database."""

    database: Database
    config: Config
    preset: str

    def listed(self) -> list[tuple[Any, dict[str, Any]]]:
        """Every row of its lists that is not spare, with the reason as data."""
        statement = text(
            "SELECT * FROM recommendations WHERE rank <= 5 ORDER BY user_id, model, rank"
        )
        with self.database.reader.connect() as connection:
            result = connection.execute(statement).all()
        return [(row, as_data(row.reason)) for row in result]


def as_data(reason: Any) -> dict[str, Any]:
    """Postgres returns data, SQLite text."""
    data: dict[str, Any] = reason if isinstance(reason, dict) else json.loads(reason)
    return data


@pytest.fixture(scope="module", params=PRESETS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of each preset."""
    folder = tmp_path_factory.mktemp("run")
    database = open_database(f"sqlite:///{folder / 'recbatch.db'}")
    upgrade(database)
    with_users(database, folder)
    config = settings(folder, **preset_variables(request.param))
    nightly.run(database, config, Order(DAY, force=True))
    return Run(database, config, request.param)


@pytest.fixture
def environment(run: Run) -> Iterator[None]:
    """Commands use the run's database and settings, and 80 columns."""
    variables = preset_variables(run.preset)
    variables["RECBATCH_DATABASE__URL"] = run.database.url.render_as_string()
    variables["COLUMNS"] = "80"
    with pytest.MonkeyPatch.context() as patch:  # not the fixture, which would fit models again
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


def test_every_row_has_a_reason(run: Run) -> None:
    """Each row has a reason of its model's kind, or is a filler where the blend had none left."""
    kinds = Counter((row.model, reason["kind"]) for row, reason in run.listed())
    n_lists = 61 * 5
    n_fillers = kinds.pop(("blend", "filler"))
    expected = {
        ("user_user", "user_user"),
        ("item_item", "item_item"),
        ("neural", "neural"),
        ("blend", "blend"),
    }
    assert kinds.keys() == expected
    assert kinds["blend", "blend"] + n_fillers == n_lists
    assert 1 <= n_fillers <= 5
    for row, reason in run.listed():
        assert (reason["kind"] == "filler") == (row.model == "blend" and row.score < 0)


def test_weights_add_up_in_every_row(run: Run) -> None:
    """Weights add up to predicted rating - baseline, and the blend's shares to its log-odds."""
    with run.database.reader.connect() as connection:
        ratings = load(connection).ratings
    row_of = {number: row for row, number in enumerate(ratings.user_ids.tolist())}
    column_of = {number: column for column, number in enumerate(ratings.movie_ids.tolist())}
    baseline = fit_baseline("bias" if run.preset == "tuned" else "user_mean", ratings)
    for row, reason in run.listed():
        if reason["kind"] == "blend":
            assert reason["shares"].keys() <= SHARES.keys()
            odds = reason["start"] + sum(reason["shares"].values())
            expected = math.log(row.score / (1 - row.score))
            assert odds == pytest.approx(expected, abs=0.005 + 1e-4)
        elif reason["kind"] != "filler":
            user = row_of[row.user_id]
            item = column_of[row.movie_id]
            departure = row.predicted_rating
            departure -= baseline.mu + baseline.user[user] + baseline.item[item]
            parts = [*reason.get("films", ()), *reason.get("genres", ())]
            total = reason.get("weight", 0) + reason.get("others", 0)
            total += sum(part[-1] for part in parts)
            assert total == pytest.approx(departure, abs=ROUNDED)


def test_reasons_name_nobody(run: Run) -> None:
    """No reason has a person's id; its films are the user's own, user_user's are counts only."""
    rated = set(rows(run.database, "SELECT user_id, movie_id FROM ratings"))
    for row, reason in run.listed():
        numbers = re.findall(r"\d+", row.reason)
        assert not any(number.startswith("98765") for number in numbers), row.reason
        named = {film for film, *_ in reason.get("films", ())} | {reason.get("listed_for")}
        assert all((row.user_id, film) in rated for film in named - {None})
        if row.model == "user_user":
            assert reason.keys() <= {"kind", "neighbours", "mean", "agreement", "opposed", "weight"}


def test_both_databases_have_the_same_reasons(postgres_url: str, tmp_path: Path, run: Run) -> None:
    """From the same ratings both databases give the same sentences, and the page's queries too."""
    other = open_database(postgres_url)
    upgrade(other)
    with_users(other, tmp_path)
    config = settings(tmp_path, **preset_variables(run.preset))
    nightly.run(other, config, Order(DAY, force=True))
    assert sentences(other) == sentences(run.database)
    of_sqlite, of_postgres = page_queries()
    check_query(of_postgres, other, run)
    check_query(of_sqlite, run.database, run)


def page_queries() -> list[str]:
    """The queries of docs/reasons.md: for SQLite and for Postgres."""
    queries: list[str] = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    return queries


def check_query(statement: str, database: Database, run: Run) -> None:
    """It reads, rank by rank, the rating that weighs most, of films whose reason names one."""
    [(number,)] = rows(run.database, "SELECT user_id FROM users WHERE user_key = 'u1'")
    titles = dict(rows(run.database, "SELECT movie_id, title FROM movies"))
    expected = []
    for row, reason in run.listed():
        if row.model == "item_item" and row.user_id == number and reason["films"]:
            film, stars, weight = reason["films"][0]
            expected.append((row.rank, titles[film], stars, weight))
    assert len(expected) == 5
    result = rows(database, statement.replace("'1'", "'u1'"))
    as_numbers = [
        (rank, title, float(stars), float(weight)) for rank, title, stars, weight in result
    ]
    assert as_numbers == expected


def sentences(database: Database) -> list[tuple[str | None, str, int, str, str]]:
    """All lists in words."""
    with database.reader.connect() as connection:
        lists = [answer for model in PUBLISHED for answer in query.lists(connection, model=model)]
    words = []
    for answer in lists:
        for film in answer.films:
            assert film.why
            words.append((answer.user_key, answer.model, film.rank, film.movie_key, film.why))
    return words


def test_names_take_one_query(run: Run) -> None:
    """The films in a list's reasons are looked up together."""
    statements: list[str] = []

    def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    with run.database.reader.connect() as connection:
        event.listen(connection, "before_cursor_execute", record)
        answer = query.top(connection, "u3", model="item_item")
    assert sum("FROM movies" in statement for statement in statements) == 1
    first = answer.films[0]
    assert first.reason is not None
    film, stars, _ = first.reason["films"][0]
    [(title,)] = rows(run.database, f"SELECT title FROM movies WHERE movie_id = {film}")
    assert f"{title} {stars:.1f}" in first.why


# Any pair


def explained(run: Run, user: str, film: str) -> dict[str, explain_pair.ModelExplanation]:
    """The explanation of each model, by its name."""
    pair = explain_pair.explain_pair(run.database, run.config, user, film)
    return {opinion.model: opinion for opinion in pair.opinions}


@pytest.mark.parametrize("listed_by", ["blend", "neural"])
def test_an_explained_film_is_the_listed_one(run: Run, listed_by: str) -> None:
    """A listed film has place, score, stars and reason of its row.

    The blend has the published weights, and the network is trained as long as the published one.
    """

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("what the published run has learnt would have done")

    with run.database.reader.connect() as connection:
        lists = {model: query.top(connection, "u3", model=model).films for model in PUBLISHED}
    key = lists[listed_by][0].movie_key
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explain_pair, "learn_nightly", refuse)
        explanations = explained(run, "u3", key)
    for model, films in lists.items():
        explanation = explanations[model]
        by_key = {film.movie_key: film for film in films}
        if key not in by_key:
            assert explanation.place is None or explanation.place > 5
            continue
        film = by_key[key]
        assert explanation.place == film.rank
        assert explanation.reason == film.reason
        assert explanation.why == film.why
        assert explanation.score == pytest.approx(film.score, abs=1e-6)
        assert explanation.predicted_rating == pytest.approx(film.predicted_rating, abs=1e-6)


def test_without_published_weights_the_blend_is_learnt_again(run: Run) -> None:
    """Without the published run's figures the blend is learnt again, with the same result."""
    before = explained(run, "u4", "m7")
    where = "FROM run_metrics WHERE model = 'blend' AND metric = 'list_odds'"
    [(value,)] = rows(run.database, f"SELECT value {where}")
    with run.database.writer.begin() as connection:
        connection.execute(text(f"DELETE {where}"))
    again = explained(run, "u4", "m7")
    restored = f"INSERT INTO run_metrics VALUES (1, 'blend', 'list_odds', {value!r})"
    with run.database.writer.begin() as connection:
        connection.execute(text(restored))
    for model, explanation in before.items():
        expected = replace(
            explanation,
            score=pytest.approx(explanation.score),
            predicted_rating=pytest.approx(explanation.predicted_rating),
        )
        assert again[model] == expected


def test_the_network_is_trained_as_long_as_the_published_one(run: Run) -> None:
    """It is trained for the number of epochs that the published run has recorded."""

    def predicted(epochs: float) -> float:
        update = "UPDATE run_metrics SET value = :epochs WHERE metric = 'epochs'"
        with run.database.writer.begin() as connection:
            assert connection.execute(text(update), {"epochs": epochs}).rowcount == 1
        stars = explained(run, "u4", "m7")["neural"].predicted_rating
        assert stars is not None
        return stars

    [(recorded,)] = rows(run.database, "SELECT value FROM run_metrics WHERE metric = 'epochs'")
    longer = predicted(recorded + 3)
    assert abs(longer - predicted(recorded)) > 1e-6


def test_films_without_a_place(run: Run) -> None:
    """A rated film is placed among the unseen; without raters there is no prediction."""
    pair = explain_pair.explain_pair(run.database, run.config, "u1", "solo1")
    assert pair.rated == 5.0
    explanations = {opinion.model: opinion for opinion in pair.opinions}
    user_user = explanations["user_user"]
    assert (user_user.place, user_user.predicted_rating, user_user.score) == (None, None, None)
    assert user_user.why == "No prediction: nobody else has rated it."
    [(rated,)] = rows(
        run.database,
        "SELECT count(*) FROM ratings JOIN users USING (user_id) WHERE user_key = 'u1'",
    )
    neural = explanations["neural"]
    assert neural.place is not None
    assert 1 <= neural.place <= neural.of == 66 - rated + 1
    assert explanations["blend"].reason == {"kind": "filler"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nobody", "m1"], "recbatch: no user has the key or name 'nobody'\n"),
        (["u1", "nothing"], "recbatch: no film has the key or title 'nothing'\n"),
        (
            ["u1", "Twice"],
            "recbatch: several films are titled 'Twice'; use one of the keys m1, m2\n",
        ),
    ],
)
def test_an_unknown_user_or_film_is_wrong_use(
    sqlite_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    """An unknown user or film, or a title of several, is one line and exit 2, before any fit."""
    database = open_database(sqlite_url)
    upgrade(database)
    fill(database, tmp_path)
    with database.writer.begin() as connection:
        connection.execute(text(TITLED_TWICE))
    monkeypatch.setenv("RECBATCH_DATABASE__URL", sqlite_url)
    assert command("explain", *words) == 2
    assert capsys.readouterr().err == message


@pytest.mark.usefixtures("environment")
def test_explain_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`explain` prints stars, place and reason of each model; `--json` has the same."""
    assert command("-q", "explain", "u1", "solo1", "--json") == 0
    pair = json.loads(capsys.readouterr().out)
    assert (pair["user_key"], pair["title"], pair["rated"]) == ("u1", "solo1", 5.0)
    assert [opinion["model"] for opinion in pair["opinions"]] == list(PUBLISHED)
    assert command("-q", "explain", "u1", "solo1") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("solo1 for u1\n")
    assert "rated 5 already" in printed
    assert all(len(line) <= 80 for line in printed.splitlines())
    for opinion in pair["opinions"]:
        assert opinion["why"].split()[0] in printed


@pytest.mark.usefixtures("environment")
def test_a_filtered_film_is_explained_as_filtered(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """`explain` names the filters and settings that hide a film from this user, and no others."""
    for user in ("u2", "u1"):
        assert command("filter", "add", "solo1", "--user", user, "--why", f"not for {user}") == 0
    assert command("-q", "explain", "u1", "solo1") == 0
    message = "hidden by filter 2 (not for u1): wherever the models place it"
    assert message in capsys.readouterr().out
    for number in ("1", "2"):
        assert command("filter", "remove", number) == 0
    [(genre,)] = rows(
        run.database,
        "SELECT min(name) FROM genres JOIN movie_genres USING (genre_id) "
        "JOIN movies USING (movie_id) WHERE movie_key = 'm1'",
    )
    rules = FilterSettings(films=("m1",), genres=(genre, "none"))
    no_rules = FilterSettings()
    with run.database.writer.begin() as connection:
        synchronise(connection, rules)
        assert explain_pair.filters_on_pair(connection, rules, "u1", "m1") == (
            "the setting filters.films",
            f"the setting filters.genres, {genre}",
        )
        assert explain_pair.filters_on_pair(connection, rules, "u1", "solo1") == ()
        synchronise(connection, no_rules)


@pytest.mark.usefixtures("environment")
def test_top_shows_why(capsys: pytest.CaptureFixture[str]) -> None:
    """`top USER --model M` prints reasons in 80 columns; `--json` has them in words and data."""
    assert command("-q", "top", "u3", "--model", "item_item", "--json") == 0
    [answer] = json.loads(capsys.readouterr().out)
    assert command("-q", "top", "u3", "--model", "item_item") == 0
    printed = capsys.readouterr().out
    assert all(len(line) <= 80 for line in printed.splitlines())
    for film in answer["films"]:
        assert film["reason"]["kind"] == "item_item"
        first_words = " ".join(film["why"].split()[:4])
        assert first_words in " ".join(printed.split())
    assert command("-q", "top", "u3") == 0
    assert answer["films"][0]["why"].split(";")[0] not in capsys.readouterr().out
