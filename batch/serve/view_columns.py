"""Columns of the views that applications read: meaning, unit, type, and what is promised."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Column
from sqlalchemy.dialects import postgresql, sqlite

from batch.store import schema

Kind = Literal["postgres", "sqlite"]
_DIALECTS = {
    "postgres": postgresql.dialect(),  # type: ignore[no-untyped-call]
    "sqlite": sqlite.dialect(),
}
_JSON_TYPES = {
    "BIGINT": "integer",
    "SMALLINT": "integer",
    "INTEGER": "integer",
    "DOUBLE PRECISION": "number",
    "REAL": "number",
    "JSONB": "object",
}
"""JSON types of SQL types; every other type is a string in JSON."""


@dataclass(frozen=True)
class ViewColumn:
    """One column of a view: one column of a table unchanged, or a figure that the view computes."""

    name: str
    source: Column[Any]
    meaning: str
    unit: str = ""
    promise: str = ""  # beyond what is promised of every column

    @property
    def nullable(self) -> bool:
        return bool(self.source.nullable)

    def type(self, kind: Kind) -> str:
        """The type's name in this database, in capitals."""
        return str(self.source.type.compile(dialect=_DIALECTS[kind]))

    def json_type(self, kind: Kind) -> str:
        """The type of the value when a row is written as JSON."""
        return _JSON_TYPES.get(self.type(kind), "string")


_users = schema.users.c
_movies = schema.movies.c
_lists = schema.recommendations.c
_popular = schema.popular_items.c
_genres = schema.genres.c
_similar = schema.similar_items.c
_publication = schema.publication.c
_runs = schema.runs.c
_outcomes = schema.run_outcomes.c

_MOVIE_KEY = ViewColumn(
    "movie_key",
    _movies.movie_key,
    "The film's id in the source: MovieLens' number, or the title of a wide file.",
    promise="never changes for a film",
)
_TITLE = ViewColumn(
    "title",
    _movies.title,
    "The film's title; its key, where no catalogue has a title.",
    promise="not unique, and may change from night to night",
)
_PUBLISHED_AT = ViewColumn(
    "published_at",
    _publication.published_at,
    "When readers began to see this run; after a rollback, when that was done.",
    unit="UTC",
    promise="the same in all rows of a view",
)
_RANKS = "1, 2, 3, ..., without gaps, up to `publish.top_n` of the run"

_USER_KEY = ViewColumn(
    "user_key",
    _users.user_key,
    "The user's id in the source.",
    promise="never changes for a user",
)
_USER_NAME = ViewColumn("user_name", _users.name, "The user's name, where the source has one.")

_RECOMMENDATIONS = (
    _USER_KEY,
    _USER_NAME,
    ViewColumn(
        "model",
        _lists.model,
        "Which model made the list.",
        promise="models may be added: always ask for one",
    ),
    ViewColumn(
        "rank",
        _lists.rank,
        "The film's place in the user's list of that model, the best first.",
        unit=_RANKS,
        promise="unique with user_key and model",
    ),
    _MOVIE_KEY,
    _TITLE,
    ViewColumn(
        "score",
        _lists.score,
        "What the list is ordered by, highest first.",
        unit="the model's own",
        promise="comparable within one list only",
    ),
    ViewColumn(
        "predicted_rating",
        _lists.predicted_rating,
        "How the user would rate the film; NULL where the model predicts none.",
        unit="stars of the source's scale, unclipped",
    ),
    ViewColumn(
        "reason",
        _lists.reason,
        "Why the film is there, for programs; NULL where there is no reason, or it moved up. "
        "Kind `fallback`: a popular film, because the model had no prediction.",
        unit="a JSON object; on SQLite, text that contains one",
        promise="keys may be added",
    ),
    ViewColumn(
        "run_id",
        _lists.run_id,
        "The run that made the list.",
        promise="the same in all rows of a view; grows with each run, and falls with a rollback",
    ),
    _PUBLISHED_AT,
)

_POPULAR = (
    ViewColumn(
        "rank",
        _popular.rank,
        "The film's place, the most popular first.",
        unit=_RANKS,
        promise="unique",
    ),
    _MOVIE_KEY,
    _TITLE,
    ViewColumn(
        "score",
        _popular.score,
        "How many users rated the film, old ratings counting less where the data move.",
        unit="ratings",
    ),
    ViewColumn(
        "run_id",
        _popular.run_id,
        "The run that made the list.",
        promise="the same in all rows of a view, and that of current_recommendations",
    ),
    _PUBLISHED_AT,
)

_SHELVES = (
    _USER_KEY,
    _USER_NAME,
    ViewColumn(
        "genre",
        _genres.name,
        "A genre of the film, as the catalogue writes it.",
        promise="a film has a row for each of its genres",
    ),
    ViewColumn(
        "rank",
        _lists.rank,
        "The film's place among the user's films of that genre, the best first.",
        unit="1, 2, 3, ..., without gaps",
        promise="unique with user_key and genre",
    ),
    _MOVIE_KEY,
    _TITLE,
    ViewColumn(
        "score",
        _lists.score,
        "The film's score in the user's list of `blend`, highest first.",
        promise="comparable within one user only",
    ),
    ViewColumn(
        "run_id",
        _lists.run_id,
        "The run that made the list.",
        promise="the same in all rows of a view, and that of current_recommendations",
    ),
    _PUBLISHED_AT,
)

_SIMILAR = (
    _MOVIE_KEY,
    _TITLE,
    ViewColumn(
        "rank",
        _similar.rank,
        "The other film's place in this film's list, the most alike first.",
        unit="1, 2, 3, ...; with gaps where a film was filtered after the run",
        promise="unique with movie_key",
    ),
    ViewColumn(
        "other_key",
        _movies.movie_key,
        "The other film's id in the source.",
        promise="unique with movie_key; never changes for a film",
    ),
    ViewColumn(
        "other_title",
        _movies.title,
        "The other film's title; its key, where no catalogue has a title.",
        promise="not unique, and may change from night to night",
    ),
    ViewColumn(
        "score",
        _similar.score,
        "How alike the two films are, by who liked them and how soon one after the other.",
        unit="0 to 1",
        promise="comparable within one list only",
    ),
    ViewColumn("support", _similar.support, "How many users liked both films.", unit="users"),
    ViewColumn(
        "run_id",
        _similar.run_id,
        "The run that made the list.",
        promise="the same in all rows of a view, and that of current_recommendations",
    ),
    _PUBLISHED_AT,
)


def _figure(name: str, kind: Any, meaning: str, unit: str) -> ViewColumn:
    """A metric of a run's outcome, NULL where there is nothing that it could be measured on."""
    return ViewColumn(name, Column(name, kind, nullable=True), meaning, unit=unit)


_SHARE = "a share, from 0 to 1"
_STARS = "stars of the source's scale"

_OUTCOMES = (
    ViewColumn(
        "run_id", _outcomes.run_id, "The run that made the lists.", promise="unique with model"
    ),
    ViewColumn("logical_date", _runs.logical_date, "The night that the run was for."),
    ViewColumn(
        "published_at", _runs.published_at, "When readers began to see the run.", unit="UTC"
    ),
    ViewColumn(
        "model",
        _outcomes.model,
        "Which model made the lists.",
        promise="models may be added: always ask for one",
    ),
    ViewColumn("top_n", _runs.top_n, "How many films of each list were shown.", unit="films"),
    _figure(
        "users",
        schema.Id,
        "Users with a list who liked a film since that was new to them.",
        "users",
    ),
    _figure(
        "promised_precision",
        schema.Real,
        "Precision of the lists as the night measured it, on held-out ratings.",
        _SHARE,
    ),
    _figure(
        "precision",
        schema.Real,
        "Films of a list that its user liked since, of `top_n`: the mean over these users.",
        _SHARE,
    ),
    _figure("precision_low", schema.Real, "Lower end of its 95 % interval.", _SHARE),
    _figure("precision_high", schema.Real, "Upper end of its 95 % interval.", _SHARE),
    _figure(
        "popular_precision",
        schema.Real,
        "The same of the run's popular list, less what each user had rated.",
        _SHARE,
    ),
    _figure("hit_rate", schema.Real, "Users with a film they liked in their list.", _SHARE),
    _figure("rated", schema.Id, "Films of lists that their users rated since.", "films"),
    _figure("stars", schema.Real, "The mean rating of these films.", _STARS),
    _figure("predicted_stars", schema.Real, "The mean that the model predicted.", _STARS),
    _figure(
        "calibration",
        schema.Real,
        "How much higher predictions were than ratings, on average.",
        _STARS,
    ),
    _figure(
        "spare_hits",
        schema.Id,
        "Liked films below `top_n`, which the lists had spare; NULL where they had none.",
        "films",
    ),
)

VIEWS: Mapping[str, tuple[ViewColumn, ...]] = {
    "current_recommendations": _RECOMMENDATIONS,
    "current_popular": _POPULAR,
    "current_shelves": _SHELVES,
    "current_similar": _SIMILAR,
    "run_outcomes_by_run": _OUTCOMES,
}
"""The columns of each view, in its order."""

DESCRIPTIONS = {
    "current_recommendations": "Each user's list of each model, of the published run: "
    "one row per film.",
    "current_popular": "The list for anyone without a list of their own, of the published run: "
    "one row per film.",
    "current_shelves": "Each user's best unrated films by genre, of the films that the published "
    "run stored of their list of `blend`: one row per film and genre.",
    "current_similar": "For each film the films that the same people liked, of the published run: "
    "one row per pair of films.",
    "run_outcomes_by_run": "What became of the lists of each published run, by what was rated "
    "since, as of the last night: one row per run and model.",
}
"""The content of each view, and what one row is."""
