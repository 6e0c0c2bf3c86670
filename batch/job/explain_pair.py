"""A user's key and a film's -> what every model says of the pair and why, fitted on the database as it stands."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from batch import query, reasons
from batch.config import Config, FilterSettings
from batch.job import nightly
from batch.job.inputs import EvaluationInputs, evaluation_inputs
from batch.ranking.blend import Weights
from batch.ranking.ensemble import assemble
from batch.ranking.evaluate import fit_all, learn_nightly
from batch.ranking.explain import explain
from batch.ranking.mask import Mask
from batch.ratings import Ratings
from batch.store import filters, schema
from batch.store.database import Database
from batch.store.load import Loaded, load


@dataclass(frozen=True)
class ModelExplanation:
    """One model on one pair; None where it cannot say."""

    model: str
    predicted_rating: float | None  # stars, unclipped
    baseline: float  # stars, what the weights of the reason are added to
    score: float | None  # what its list is ordered by
    place: int | None  # among the user's unseen films, 1 = first
    of: int  # how many of those it places
    reason: dict[str, Any] | None  # None for a model that tells none
    why: str


@dataclass(frozen=True)
class PairExplanation:
    """What all models say of one film to one user."""

    user_key: str
    movie_key: str
    title: str
    rated: float | None  # stars the user gave it already: then places are as if they had not
    few: (
        bool  # the user has rated too little: what lists hold is popular films, whatever models say
    )
    scale: tuple[float, float]
    hidden_by: tuple[
        str, ...
    ]  # filters and settings that keep the film from the user now: likewise
    opinions: tuple[ModelExplanation, ...]


def explain_pair(database: Database, config: Config, user: str, film: str) -> PairExplanation:
    """Fit everything and ask. Raises what `query.find_user` and `query.find_film` do.

    The blend's weights are those of the published run if it came from the same data, settings and packages; else they
    are learnt as a night would.
    """
    with database.reader.connect() as connection:
        user_key = query.find_user(connection, user)
        movie_key, title = query.find_film(connection, film)
        loaded = load(connection, scale=config.ingest.scale)
        recorded = _recorded(connection, loaded, config)
        filtered, _ = filters.in_force(connection, config.filters)
        hidden_by = filters_on_pair(connection, config.filters, user_key, movie_key)
    ratings, by = loaded.ratings, evaluation_inputs(loaded.ratings, config)
    mask = Mask.of(ratings, filtered)
    weights = _learnt(ratings, config, by) if recorded is None else recorded.weights
    models = fit_all(ratings, config.models, by["seed"])
    row, column = loaded.user_keys.index(user_key), loaded.movie_keys.index(movie_key)
    verdicts = explain(
        assemble(ratings, models, weights, by["seed"], by["block"], mask), row, column
    )
    told = [reasons.read(verdict.reason) for verdict in verdicts.values()]
    with database.reader.connect() as connection:
        sentences = query.Names(connection).sentences(told)
    opinions = tuple(
        ModelExplanation(
            name, each.rating, each.baseline, each.score, each.place, each.of, reason, why
        )
        for (name, each), reason, why in zip(verdicts.items(), told, sentences, strict=True)
    )
    mine = ratings.matrix[[row]]
    rated = mine.data[mine.indices == column]
    return PairExplanation(
        user_key=user_key,
        movie_key=movie_key,
        title=title,
        rated=float(rated[0]) if len(rated) else None,
        hidden_by=hidden_by,
        few=config.preset != "plain" and 0 < mine.nnz < config.publish.least_ratings,
        scale=ratings.scale,
        opinions=opinions,
    )


def filters_on_pair(
    connection: Connection, rules: FilterSettings, user_key: str, movie_key: str
) -> tuple[str, ...]:
    """What keeps a film from a user now, by the names under which it can be ended."""
    m, g, link = schema.movies, schema.genres, schema.movie_genres
    found = [
        f"filter {each.filter_id}" + (f" ({each.reason})" if each.reason else "")
        for each in filters.filters_of_pair(connection, movie_key, user_key)
    ]
    if movie_key in rules.films:
        found.append("the setting filters.films")
    of_film = select(g.c.name).join_from(g, link, link.c.genre_id == g.c.genre_id)
    of_film = of_film.join(m, m.c.movie_id == link.c.movie_id).where(m.c.movie_key == movie_key)
    mask = connection.execute(
        of_film.where(g.c.name.in_(rules.genres)).order_by(g.c.name)
    ).scalars()
    return (*found, *(f"the setting filters.genres, {name}" for name in mask))


def _learnt(ratings: Ratings, config: Config, by: EvaluationInputs) -> Weights | None:
    return learn_nightly(
        ratings,
        config.models,
        seed=by["seed"],
        relevant_from=by["relevant_from"],
        block=by["block"],
        users=by["users"],
    )


@dataclass(frozen=True)
class _Recorded:
    """What a run knew of its blend; it may have had no weights."""

    weights: Weights | None


def _recorded(connection: Connection, loaded: Loaded, config: Config) -> _Recorded | None:
    """The weights of the published run, if a night that began now would learn the same."""
    r, p, m = schema.runs.c, schema.publication.c, schema.run_metrics.c
    facts = select(r.run_id, r.data_sha256, r.config_sha256, r.versions)
    run = connection.execute(
        facts.join_from(schema.publication, schema.runs, p.run_id == r.run_id)
    ).first()
    if run is None or (run.data_sha256, run.config_sha256) != (loaded.sha256, config.sha256()):
        return None
    versions = json.loads(run.versions) if isinstance(run.versions, str) else run.versions
    if versions != nightly.versions():
        return None
    of_blend = select(m.metric, m.value).where(m.run_id == run.run_id, m.model == "blend")
    figures = {row.metric: row.value for row in connection.execute(of_blend)}
    if "learnt_from_ratings" not in figures:
        return _Recorded(None)
    return (
        _Recorded(Weights.from_figures(figures)) if "list_odds" in figures else None
    )  # None: from an earlier version
