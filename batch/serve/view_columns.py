"""Every column of the views that applications read: what it means, its unit, its type, and what is promised of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Column
from sqlalchemy.dialects import postgresql, sqlite

from batch.store import schema

Kind = Literal["postgres", "sqlite"]
_DIALECTS = {"postgres": postgresql.dialect(), "sqlite": sqlite.dialect()}  # type: ignore[no-untyped-call]
_JSON = {"BIGINT": "integer", "SMALLINT": "integer", "INTEGER": "integer", "DOUBLE PRECISION": "number",
         "REAL": "number", "JSONB": "object"}  # fmt: skip
"""Types of columns as JSON has them; any other is a string there."""


@dataclass(frozen=True)
class ViewColumn:
    """One column of a view, which shows one column of a table as it is."""

    name: str
    source: Column[Any]
    meaning: str
    unit: str = ""
    promise: str = ""  # beyond what is promised of every column

    @property
    def nullable(self) -> bool:
        return bool(self.source.nullable)

    def type(self, kind: Kind) -> str:
        """As the database names it, in capitals."""
        return str(self.source.type.compile(dialect=_DIALECTS[kind]))

    def json_type(self, kind: Kind) -> str:
        """What a row turned into JSON holds here."""
        return _JSON.get(self.type(kind), "string")


_users, _movies, _lists = schema.users.c, schema.movies.c, schema.recommendations.c
_popular, _publication = schema.popular_items.c, schema.publication.c

_FILM = (
    ViewColumn("movie_key", _movies.movie_key,
               "The film's id in the source: MovieLens' number, or the title of a wide file.",
               promise="a film's for good"),
    ViewColumn("title", _movies.title, "The film's title; its key, where no catalogue has told it.",
               promise="not unique, and may change from night to night"),
)  # fmt: skip
_RUN = (
    ViewColumn("published_at", _publication.published_at,
               "When readers began to see this run; after a rollback, when that was done.",
               unit="UTC", promise="the same in all rows of a view"),
)  # fmt: skip

_RANKS = "1, 2, 3, ...; one is missing where a film was hidden after the run"

VIEWS: Mapping[str, tuple[ViewColumn, ...]] = {
    "current_recommendations": (
        ViewColumn("user_key", _users.user_key, "The user's id in the source.",
                   promise="a user's for good"),
        ViewColumn("user_name", _users.name, "The user's name, where the source has one."),
        ViewColumn("model", _lists.model, "Which model made the list.",
                   promise="models may be added: always ask for one"),
        ViewColumn("rank", _lists.rank, "The film's place in the user's list of that model, the best first.",
                   unit=_RANKS, promise="unique with user_key and model"),
        *_FILM,
        ViewColumn("score", _lists.score, "What the list is ordered by, highest first.",
                   unit="the model's own", promise="comparable within one list only"),
        ViewColumn("predicted_rating", _lists.predicted_rating,
                   "How the user would rate the film; NULL where the model predicts none.",
                   unit="stars of the source's scale, unclipped"),
        ViewColumn("reason", _lists.reason,
                   "Why the film is there, for programs; NULL where nothing is told. Kind `fallback`: a popular film "
                   "stands in for what the model could not say.",
                   unit="a JSON object; text that holds one on SQLite", promise="keys may be added"),
        ViewColumn("run_id", _lists.run_id, "The run that made the list.",
                   promise="the same in all rows of a view; grows with each run, and falls with a rollback"),
        *_RUN,
    ),
    "current_popular": (
        ViewColumn("rank", _popular.rank, "The film's place, the most rated first.",
                   unit=_RANKS, promise="unique"),
        *_FILM,
        ViewColumn("score", _popular.score, "How many have rated the film.", unit="ratings"),
        ViewColumn("run_id", _popular.run_id, "The run that made the list.",
                   promise="the same in all rows of a view, and that of current_recommendations"),
        *_RUN,
    ),
}  # fmt: skip
"""In the order of the views' columns."""

TOLD = {
    "current_recommendations": "Each user's list of each model, of the run that is published: one row a film.",
    "current_popular": "The list for anyone the models do not know, of the run that is published: one row a film.",
}
"""What each view is, one row of which is what."""
