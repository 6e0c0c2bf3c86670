"""The steps of a run, each of which takes the results of earlier ones."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from batch import RecbatchError
from batch.audit.gates import audit_gates
from batch.audit.integrity import audit_integrity
from batch.config import Config
from batch.ingest import Report, dead_sources, ingest_sources
from batch.job.inputs import (
    block_size,
    evaluation_inputs,
    ingest_settings,
    queries,
)
from batch.job.run_warnings import judged_warnings, scale_warnings, source_warnings
from batch.job.score_users import (
    PopularFilms,
    WrittenRows,
    popular_films,
    score_users,
    write_popular,
)
from batch.job.summary import RunSummary
from batch.models import PERSONAL, REFERENCE, Model, fit
from batch.models.similar_films import similar_films
from batch.params import POPULAR_KEPT
from batch.ranking.ensemble import Ensemble, assemble
from batch.ranking.evaluate import Evaluation, evaluate
from batch.ranking.mask import Mask
from batch.ranking.rank import tie_order
from batch.ratings import Ints, Ratings
from batch.store import digests, publish
from batch.store.checks import Check, record
from batch.store.database import Database
from batch.store.filters import active_filters, synchronise
from batch.store.load import Loaded, load
from batch.store.publish import RunKey
from batch.store.runs import NEWEST_RATING, NIGHT, SECONDS, RunWarning
from batch.store.scale import Scale
from batch.store.seen import seen_pairs
from batch.store.similar_items import write_similar
from batch.telemetry import log_info, log_warning, peak_mb, step


class SourcesError(RecbatchError):
    """A configured source brought nothing, and `ingest.when_refused` is `fail`."""


@dataclass(frozen=True)
class Job:
    """The values that every step of a run needs."""

    database: Database
    config: Config
    key: RunKey
    summary: RunSummary  # filled in by the steps


def ingest_files(job: Job) -> list[Report]:
    """Ingest the files and queries of the settings, and warn of sources that brought nothing.

    A file that was undone is not merged again: it is still where the settings look for it. What the
    other sources brought stays in the tables in any case. Raises SourcesError where
    `ingest.when_refused` is `fail`.
    """
    config = job.config
    reports, by_source = ingest_sources(
        job.database,
        config.ingest.paths,
        ingest_settings(config),
        queries=queries(config),
        pass_over_undone=True,
        seen_paths=config.ingest.seen_paths,
    )
    log_reports(reports)
    merged = [report for report in reports if report.status == "merged"]
    summary = job.summary
    summary.rows_read = sum(report.read for report in merged)
    summary.rows_accepted = sum(report.accepted for report in merged)
    summary.rows_rejected = sum(report.rejected for report in merged)
    summary.files_refused = sum(report.status == "refused" for report in reports)
    with job.database.reader.connect() as connection:
        dead = dead_sources(connection, by_source)
    with job.database.writer.begin() as connection:
        _warn(connection, job, source_warnings(dead))
    if dead and config.ingest.when_refused == "fail":
        names = "; ".join(dead.values())
        raise SourcesError(f"ingest.when_refused is fail, and a source brought nothing: {names}")
    return reports


def log_reports(reports: Iterable[Report]) -> None:
    """Log what became of each file and query."""
    for report in reports:
        log = log_warning if report.status in ("refused", "passed over") else log_info
        log(
            "ingest",
            file=report.file,
            status=report.status,
            why=report.why,
            read=report.read,
            new=report.accepted,
        )


def _warn(connection: Connection, job: Job, warnings: list[RunWarning]) -> None:
    """Log warnings, and add them to those of the run in `runs`."""
    for warning in warnings:
        log_warning(f"{warning['kind']} warning", why=warning["message"])
    job.summary.warnings = [*job.summary.warnings, *warnings]
    publish.update_run(connection, job.key, warnings=job.summary.warnings)


def filter_by_settings(job: Job) -> None:
    """Filter the films and genres of the settings, those that were ingested just now too."""
    with job.database.writer.begin() as connection:
        synchronise(connection, job.config.filters, job.key.run_id)


def load_inputs(
    job: Job, known_until: int | None, scale: Scale | None = None
) -> tuple[Ratings, Mask]:
    """Read ratings, films seen and filters in one snapshot, and record in `runs` which they were.

    `known_until`, seconds since 1970 UTC, leaves out later ratings and films seen. `scale` is that
    of an earlier run; by default it is of the settings, or found.
    """
    config = job.config
    summary = job.summary
    with (
        step("load", into=summary.seconds) as figures,
        job.database.reader.connect() as connection,
    ):
        loaded = load(connection, scale=scale or config.ingest.scale, known_until=known_until)
        ratings = loaded.ratings
        filtered, last_filter_id = active_filters(connection, job.key.run_id)
        mask = Mask.of(ratings, filtered, seen_pairs(connection, known_until))
        summary.users = figures["users"] = ratings.n_users
        summary.films = figures["films"] = ratings.n_items
        summary.ratings = figures["ratings"] = ratings.n_ratings
        if not np.isinf(ratings.newest_time):
            summary.newest_rating = ratings.newest_time
    columns = _data_columns(loaded)
    columns["known_until"] = known_until
    columns["last_filter_id"] = last_filter_id
    with job.database.writer.begin() as connection:
        publish.update_run(connection, job.key, **columns)
        _warn(connection, job, scale_warnings(loaded.outliers, ratings.scale))
    return ratings, mask


def _data_columns(loaded: Loaded) -> dict[str, object]:
    ratings = loaded.ratings
    return {
        "n_users": ratings.n_users,
        "n_movies": ratings.n_items,
        "n_ratings": ratings.n_ratings,
        "rating_min": ratings.scale[0],
        "rating_max": ratings.scale[1],
        "data_sha256": loaded.sha256,
        "last_batch_id": loaded.last_batch_id,
    }


def measure(ratings: Ratings, config: Config) -> Evaluation:
    """The metrics of all models and the weights of the blend, by the settings."""
    inputs = evaluation_inputs(ratings, config)
    return evaluate(ratings, config.models, inputs, config.gate.min_users_judged)


def evaluate_models(job: Job, ratings: Ratings) -> Evaluation:
    """Measure all models on held-out ratings, and learn the weights of the blend."""
    with step("evaluate", into=job.summary.seconds) as figures:
        evaluation = measure(ratings, job.config)
        figures["users"] = evaluation.measured.held_out_users
        figures["headline"] = evaluation.headline
    job.summary.headline = evaluation.headline
    return evaluation


def choose_fallback(job: Job, evaluation: Evaluation, ensemble: Ensemble) -> int:
    """From how many ratings on a user's lists are the models' own; recorded with what was chosen.

    The setting decides, or, where it is null, what was measured.
    """
    least_ratings = job.config.publish.least_ratings or evaluation.least_ratings
    with job.database.writer.begin() as connection:
        publish.update_run(
            connection,
            job.key,
            headline=evaluation.headline,
            half_life=ensemble.half_life,
            least_ratings=least_ratings,
        )
    return least_ratings


def fit_models(job: Job, ratings: Ratings, epochs: int | None) -> dict[str, Model]:
    """Fit every model but the blend on all ratings, the network for so many epochs."""
    config = job.config
    models: dict[str, Model] = {}
    for name in (*PERSONAL, *REFERENCE):
        params = getattr(config.models, name, None)
        chosen = {"epochs": epochs} if name == "neural" else {}
        with step("fit", into=job.summary.seconds, model=name):
            models[name] = fit(name, ratings, params, config.evaluation.seed, **chosen)
    return models


def fit_blend(
    job: Job, models: Mapping[str, Model], evaluation: Evaluation, ratings: Ratings, mask: Mask
) -> Ensemble:
    """Join the fitted models and their blend; the mask's films are never listed."""
    config = job.config
    with step("fit", into=job.summary.seconds, model="blend"):
        return assemble(ratings, models, evaluation.weights, mask, config.publish.diversity)


def write_lists(job: Job, ensemble: Ensemble, mask: Mask, least_ratings: int) -> WrittenRows:
    """Write the lists of every user, and the one for everyone, which nobody reads yet."""
    everyone = np.arange(ensemble.ratings.n_users)
    popular = popular_films(ensemble, mask, least_ratings)
    written = write_lists_of(job, ensemble, popular, everyone)
    write_popular(job.database, job.key, popular, max(POPULAR_KEPT, job.config.publish.top_n))
    return written


def write_lists_of(job: Job, ensemble: Ensemble, popular: PopularFilms, users: Ints) -> WrittenRows:
    """Score these users, (u,), and write their lists under the run."""
    config = job.config
    block = block_size(ensemble.ratings, config.resources.memory_mb)
    with step("score", into=job.summary.seconds) as figures:
        written = score_users(job.database, config, job.key, ensemble, popular, users, block)
        figures |= written.total
    return written


def find_similar(job: Job, ratings: Ratings, mask: Mask) -> None:
    """Write the films most like each film, without those that are filtered for everyone."""
    n = job.config.similar.n
    if not n:
        return
    with step("similar", into=job.summary.seconds) as figures:
        liked_from = evaluation_inputs(ratings, job.config)["relevant_from"]
        order = tie_order(ratings.item_counts())
        similar = similar_films(ratings, liked_from, n, order, mask.for_everyone)
        with job.database.writer.begin() as connection:
            publish.require_ownership(connection, job.key)
            figures["rows"] = write_similar(connection, job.key.run_id, ratings, similar)


def audit_lists(job: Job, evaluation: Evaluation, written: WrittenRows) -> list[Check]:
    """Record what was measured, and check the written lists."""
    summary = job.summary
    run_id = job.key.run_id
    with (
        step("audit", into=summary.seconds) as figures,
        job.database.writer.begin() as connection,
    ):
        publish.write_metrics(connection, job.key, evaluation.metrics)
        publish.write_metrics(connection, job.key, written.counts())
        publish.write_metrics(connection, job.key, written.fallback_shares())
        publish.write_metrics(connection, job.key, {NIGHT: _figures_of_run(summary)})
        checks = audit_integrity(connection, run_id, job.config.filters)
        checks += audit_gates(connection, run_id, job.config.gate)
        record(connection, run_id, checks)
        digests.record(connection, run_id)
        if summary.ratings:
            _warn(connection, job, judged_warnings(evaluation.measured, job.config.gate))
        figures["checks"] = len(checks)
    summary.checks = checks
    summary.metrics = evaluation.metrics
    summary.rows = written.total
    return checks


def _figures_of_run(summary: RunSummary) -> dict[str, float]:
    """Seconds of the steps so far, peak memory, and time of the newest rating."""
    figures = {f"{SECONDS}{name}": seconds for name, seconds in summary.seconds.items()}
    figures["peak_mb"] = float(peak_mb())
    if summary.newest_rating is not None:
        figures[NEWEST_RATING] = summary.newest_rating
    return figures
