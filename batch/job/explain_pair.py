"""A user and a film -> every model's prediction and the reason for it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, select

from batch import query
from batch.config import Config, FilterSettings
from batch.job import nightly
from batch.job.inputs import evaluation_inputs
from batch.job.recorded import Recorded, recorded
from batch.ranking.ensemble import assemble
from batch.ranking.evaluate import fit_all, learn_nightly
from batch.ranking.explain import ModelExplanation, explain
from batch.ranking.mask import Mask
from batch.store import filters, schema
from batch.store.database import Database
from batch.store.load import Loaded, load
from batch.store.runs import current_run
from batch.store.seen import seen_pairs

_LEFT_OUT = "is from a file of films seen or one that was undone, and has no ratings"


@dataclass(frozen=True)
class PairExplanation:
    """How all models rate and rank one film for one user.

    Places are as if the user had not rated the film, and as if nothing hid it.
    """

    user_key: str
    movie_key: str
    title: str
    rated: float | None  # stars, if the user has rated it
    seen: bool  # it is marked as seen
    few: bool  # the user has so few ratings that their lists contain popular films only
    scale: tuple[float, float]
    hidden_by: tuple[str, ...]  # filters and settings
    opinions: tuple[ModelExplanation, ...]


def explain_pair(database: Database, config: Config, user: str, film: str) -> PairExplanation:
    """Fit all models on the database and explain one pair; writes nothing.

    The blend has the weights of the published run if that run had the same
    data, settings and packages. Otherwise they are learnt as a run would learn
    them. Raises what `query.find_user` and `query.find_film` raise.
    """
    with database.reader.connect() as connection:
        user_key = query.find_user(connection, user)
        movie_key, title = query.find_film(connection, film)
        loaded = load(connection, scale=config.ingest.scale)
        known = _recorded(connection, loaded, config)
        least_ratings = config.publish.least_ratings or _chosen_least_ratings(connection)
        filtered, _ = filters.active_filters(connection)
        hidden_by = filters_on_pair(connection, config.filters, user_key, movie_key)
        seen = seen_pairs(connection)
    _require_loaded(loaded, user_key, movie_key)
    ratings = loaded.ratings
    row = loaded.user_keys.index(user_key)
    column = loaded.movie_keys.index(movie_key)
    inputs = evaluation_inputs(ratings, config)
    weights, epochs = known or learn_nightly(ratings, config.models, inputs)
    models = fit_all(ratings, config.models, inputs["seed"], epochs=epochs)
    mask = Mask.of(ratings, filtered, seen)
    ensemble = assemble(ratings, models, weights, mask)
    explanations = explain(ensemble, row, column)
    user_ratings = ratings.matrix[[row]]
    stars = user_ratings.data[user_ratings.indices == column]
    is_pair = (seen == (ratings.user_ids[row], ratings.movie_ids[column])).all(axis=1)  # (n,)
    is_few = 0 < user_ratings.nnz < (least_ratings or 1)
    return PairExplanation(
        user_key=user_key,
        movie_key=movie_key,
        title=title,
        rated=float(stars[0]) if len(stars) else None,
        seen=bool(is_pair.any()),
        few=is_few and config.preset != "plain",
        scale=ratings.scale,
        hidden_by=hidden_by,
        opinions=_with_sentences(database, explanations),
    )


def _require_loaded(loaded: Loaded, user_key: str, movie_key: str) -> None:
    """Raise UnknownUserError or UnknownFilmError for what no ratings name, and models leave out."""
    if user_key not in loaded.user_keys:
        raise query.UnknownUserError(f"the user {user_key!r} {_LEFT_OUT}")
    require_film(loaded, movie_key)


def require_film(loaded: Loaded, movie_key: str) -> None:
    """Raise UnknownFilmError for a film that no ratings name, and models leave out."""
    if movie_key not in loaded.movie_keys:
        raise query.UnknownFilmError(f"the film {movie_key!r} {_LEFT_OUT}")


def filters_on_pair(
    connection: Connection, rules: FilterSettings, user_key: str, movie_key: str
) -> tuple[str, ...]:
    """Filters and settings that hide a film from a user now, by name."""
    names = []
    for rule in filters.filters_of_pair(connection, movie_key, user_key):
        note = f" ({rule.reason})" if rule.reason else ""
        if rule.setting is None:
            names.append(f"filter {rule.filter_id}{note}")
        else:
            genres = _genres_of(connection, movie_key, rules) if rule.setting == "genres" else []
            names.append(", ".join([f"the setting filters.{rule.setting}", *genres]))
    return tuple(names)


def _genres_of(connection: Connection, movie_key: str, rules: FilterSettings) -> list[str]:
    """The genres of a film that the settings filter."""
    movies = schema.movies
    genres = schema.genres
    links = schema.movie_genres
    filtered = (
        select(genres.c.name)
        .join_from(genres, links, links.c.genre_id == genres.c.genre_id)
        .join(movies, movies.c.movie_id == links.c.movie_id)
        .where(movies.c.movie_key == movie_key, genres.c.name.in_(rules.genres))
        .order_by(genres.c.name)
    )
    return list(connection.execute(filtered).scalars())


def _with_sentences(
    database: Database, explanations: Sequence[ModelExplanation]
) -> tuple[ModelExplanation, ...]:
    """The same explanations with their reasons in words."""
    with database.reader.connect() as connection:
        names = query.Names(connection)
        sentences = names.sentences([explanation.reason for explanation in explanations])
    return tuple(
        replace(explanation, why=sentence)
        for explanation, sentence in zip(explanations, sentences, strict=True)
    )


def _recorded(connection: Connection, loaded: Loaded, config: Config) -> Recorded | None:
    """The published blend's weights and the network's epochs, if a run would find the same now."""
    runs = schema.runs
    publication = schema.publication
    published = select(
        runs.c.run_id, runs.c.data_sha256, runs.c.config_sha256, runs.c.versions
    ).join_from(publication, runs, publication.c.run_id == runs.c.run_id)
    run = connection.execute(published).first()
    if run is None or not _has_same_inputs(run, loaded, config):
        return None
    try:
        return recorded(connection, run.run_id)
    except KeyError:
        return None


def _chosen_least_ratings(connection: Connection) -> int | None:
    """From how many ratings on a user's lists are the models' own in the published run."""
    run = current_run(connection)
    return None if run is None else run.least_ratings


def _has_same_inputs(run: Any, loaded: Loaded, config: Config) -> bool:
    """Whether a run had the same data, settings and packages as one that starts now."""
    versions = json.loads(run.versions) if isinstance(run.versions, str) else run.versions
    return (
        run.data_sha256 == loaded.sha256
        and run.config_sha256 == config.sha256()
        and versions == nightly.versions()
    )
