"""The whole night: load, evaluate, fit, score in blocks, rank, write, audit, publish."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib.metadata import version
from json import dumps
from platform import python_version
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from batch.audit.gates import audit_gates
from batch.audit.integrity import audit_integrity
from batch.config import Config
from batch.ingest import Report, ingest
from batch.job import executors
from batch.job.estimate import estimate
from batch.job.inputs import block_size, evaluation_inputs, ingest_settings, queries
from batch.job.notify import notify
from batch.job.summary import RunSummary
from batch.models import PERSONAL, PUBLISHED, REFERENCE, Model, fit
from batch.ranking.ensemble import Ensemble, assemble
from batch.ranking.evaluate import Evaluation, evaluate
from batch.ranking.fallback import with_fallback, without_fallback
from batch.ranking.mask import Mask
from batch.ranking.metrics import Metrics
from batch.ratings import Ratings, blocks
from batch.store import publish
from batch.store.artifacts import save_weights, weights_file
from batch.store.checks import FALLBACK_ROWS, ROWS, Check, record
from batch.store.database import Database, LockedError, prepare, run_lock
from batch.store.filters import in_force
from batch.store.load import Loaded, load
from batch.store.publish import CannotPublishError, RunKey
from batch.store.runs import NEWEST_RATING, NIGHT, SECONDS
from batch.telemetry import log_info, log_warning, peak_mb, progress, run_id, step

LAST_DAY = date(9000, 1, 1)
"""Later days cannot be counted in every time zone, and nothing was rated then."""
RECORDED = ("recbatch", "numpy", "numba", "scipy", "scikit-learn", "torch")


@dataclass(frozen=True)
class Order:
    """What is asked of a night."""

    logical_date: date
    triggered_by: Literal["manual", "schedule", "catchup"] = "manual"
    as_of: date | None = None  # use what was known by the end of that day only
    publish: bool = True
    force: bool = False  # over every gate but integrity


@dataclass
class Outcome:
    """What came of it."""

    status: Literal["published", "ready", "rejected", "already_published"]
    run_id: int
    checks: list[Check] = field(default_factory=list)
    metrics: Mapping[str, Metrics] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    ingested: list[Report] = field(default_factory=list)

    @property
    def failed_checks(self) -> list[Check]:
        return [check for check in self.checks if not check.passed]


def run(database: Database, config: Config, order: Order) -> Outcome:
    """One night, under the run lock, and everyone told who waits to hear of it.

    The list that readers see changes in the last step, or not at all. Raises LockedError if another job is at work;
    whatever else is raised has left the run `failed`, or `abandoned` where a signal ended it.
    """
    summary = RunSummary(order.logical_date, order.triggered_by, datetime.now(UTC))
    try:
        prepare(database)
        outcome = _locked(database, config, order, summary)
    except LockedError:  # nothing ran; the job that is at work tells how it ends
        raise
    except BaseException as error:
        summary.status, told = _blamed(error)
        summary.error = told.splitlines()[0]
        notify(summary, config)
        raise
    if outcome.status != "already_published":
        summary.status = outcome.status
        notify(summary, config)
    return outcome


def _locked(database: Database, config: Config, order: Order, summary: RunSummary) -> Outcome:
    with run_lock(database) as holder:
        if order.triggered_by != "manual":
            with holder.begin():
                done = publish.published_on(holder, order.logical_date)
            if done is not None:
                return Outcome("already_published", done)
        ingested = ingest_configured(database, config)
        _count(ingested, summary)
        with database.writer.begin() as connection:
            key = publish.open_run(
                connection, order.logical_date, order.triggered_by, **_opening(config)
            )
        summary.run_id = key.run_id
        token = run_id.set(key.run_id)
        try:
            outcome = _night(database, config, order, key, holder, summary)
        except BaseException as error:
            _mark_failed(database, key, error)
            raise
        finally:
            run_id.reset(token)
        try:
            publish.purge(database, config.publish.keep_runs)
        except (
            SQLAlchemyError
        ) as error:  # the list is out; what could not be tidied waits for the next night
            log_warning("purge failed", error=str(error))
    outcome.ingested = ingested
    return outcome


def _night(
    database: Database,
    config: Config,
    order: Order,
    key: RunKey,
    holder: Connection,
    summary: RunSummary,
) -> Outcome:
    executors.check(config)
    seconds = summary.seconds
    with step("load", into=seconds) as told, database.reader.connect() as connection:
        loaded = load(
            connection, scale=config.ingest.scale, known_until=_end_of(order.as_of, config)
        )
        ratings = loaded.ratings
        filtered, last_filter_id = in_force(connection, config.filters, key.run_id)
        mask = Mask.of(ratings, filtered)
        told |= {"users": ratings.n_users, "films": ratings.n_items, "ratings": ratings.n_ratings}
        summary.users, summary.films, summary.ratings = (
            ratings.n_users,
            ratings.n_items,
            ratings.n_ratings,
        )
        summary.newest_rating = (
            None if ratings.rated_at is None else float(np.nanmax(ratings.rated_at))
        )
    with database.writer.begin() as connection:
        publish.update_run(
            connection, key, **_facts(loaded, order, config), last_filter_id=last_filter_id
        )
    with step("evaluate", into=seconds) as told:
        evaluation = measure(ratings, config)
        metrics = evaluation.metrics
        told["users"] = round(
            max((measured.get("raters", 0) for measured in metrics.values()), default=0)
        )
    fitted: dict[str, Model] = {}
    block = block_size(ratings, config.resources.memory_mb)
    for name in (*PERSONAL, *REFERENCE):
        with step("fit", into=seconds, model=name):
            fitted[name] = fit(
                name, ratings, getattr(config.models, name, None), config.evaluation.seed
            )
    with step("fit", into=seconds, model="blend"):
        seed, diversity = config.evaluation.seed, config.publish.diversity
        ensemble = assemble(
            ratings, fitted, evaluation.weights, seed, block, mask=mask, diversity=diversity
        )
    with step("score", into=seconds) as told:
        rows, is_fallback = _write(database, config, key, ensemble, mask, block)
        told |= rows
    final: dict[str, object] = {"rows_written": sum(rows.values()), "forced": int(order.force)}
    file = weights_file(config.artifacts.dir, f"{database.fingerprint}-run-{key.run_id}")
    with database.writer.begin() as connection:
        publish.update_run(
            connection, key, artifact=str(file)
        )  # before it is there: whoever tidies up must find it
    with database.writer.begin() as connection:
        publish.require_ownership(connection, key)
        final["artifact_sha256"] = save_weights(
            file, {name: model.weights() for name, model in fitted.items()}
        )
    with step("audit", into=seconds) as told, database.writer.begin() as connection:
        publish.write_metrics(connection, key, metrics)
        publish.write_metrics(
            connection, key, {name: {ROWS: count} for name, count in rows.items()}
        )
        shares = {
            name: {FALLBACK_ROWS: is_fallback[name] / count}
            for name, count in rows.items()
            if count
        }
        publish.write_metrics(connection, key, shares)
        figures = {f"{SECONDS}{name}": taken for name, taken in seconds.items()} | {
            "peak_mb": float(peak_mb())
        }
        if summary.newest_rating is not None:
            figures[NEWEST_RATING] = summary.newest_rating
        publish.write_metrics(connection, key, {NIGHT: figures})
        checks = audit_integrity(
            connection, key.run_id, set(ratings.movie_ids[mask.for_everyone].tolist())
        )
        checks += audit_gates(connection, key.run_id, config.gate)
        record(connection, key.run_id, checks)
        told["checks"] = len(checks)
    outcome = Outcome(_verdict(checks, order), key.run_id, checks, metrics, rows)
    summary.checks, summary.metrics, summary.rows = checks, metrics, rows
    # On the connection that holds the lock: whoever lost the lock cannot publish.
    with publish.commit_or_verify(database, holder, publish.has_ended_as(key, outcome.status)):
        if outcome.status == "published":
            publish.publish(holder, key, **final)
        else:
            publish.finish(holder, key, outcome.status, **final)
    log_info("finished", status=outcome.status, rows=sum(rows.values()))
    return outcome


def _verdict(checks: list[Check], order: Order) -> Literal["published", "ready", "rejected"]:
    # Gates guard what readers see: they do not keep a run from being ready.
    refusing = ("integrity", "gate") if order.publish and not order.force else ("integrity",)
    if any(not check.passed and check.severity in refusing for check in checks):
        return "rejected"
    return "published" if order.publish else "ready"


def _write(
    database: Database, config: Config, key: RunKey, ensemble: Ensemble, mask: Mask, block: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Score, rank and write block by block, one pass for all models; rows written of each, and how many stand in."""
    ratings, item_counts, top_n = (
        ensemble.ratings,
        ensemble.ratings.item_counts(),
        config.publish.top_n,
    )
    user_counts, in_order = ratings.user_counts(), ensemble.tie_order.argsort()
    popular = in_order[
        (item_counts[in_order] > 0) & ~np.isin(in_order, mask.for_everyone)
    ]  # columns, best first
    rows, is_fallback = dict.fromkeys(PUBLISHED, 0), dict.fromkeys(PUBLISHED, 0)

    with executors.opened(config) as answers, progress("scoring users", ratings.n_users) as advance:
        for users, said in answers(ensemble, PUBLISHED, top_n, blocks(ratings.n_users, block)):
            with database.writer.begin() as connection:
                publish.require_ownership(connection, key)
                for name, answer in said.items():
                    lists = without_fallback(answer, ratings)
                    if (
                        config.preset != "plain"
                    ):  # the method to the letter, whose lists end where it falls silent
                        taken = mask.excluded(ratings, users)
                        lists = with_fallback(
                            lists, taken, user_counts[users], popular, config.publish.least_ratings
                        )
                    rows[name] += publish.write_lists(connection, key, name, ratings, users, lists)
                    is_fallback[name] += int(lists.is_fallback.sum())
            advance(len(users))
    shown = popular[:top_n]
    with database.writer.begin() as connection:
        publish.require_ownership(connection, key)
        publish.write_popular(
            connection, key, ratings.movie_ids[shown].tolist(), item_counts[shown].tolist()
        )
    return rows, is_fallback


def plan(database: Database, config: Config, order: Order) -> dict[str, object]:
    """What a run would work on, as the tables stand before it ingests; writes nothing."""
    with database.reader.connect() as connection:
        ratings = load(
            connection, scale=config.ingest.scale, known_until=_end_of(order.as_of, config)
        ).ratings
        block = block_size(ratings, config.resources.memory_mb)
        expected = estimate(connection, ratings, config.models, block)
    active = int((ratings.user_counts() > 0).sum())
    return {
        "database": database.label,
        "night": order.logical_date,
        "ends": "published" if order.publish else "ready",
        "ingest_first": [
            *(str(path) for path in config.ingest.paths),
            *(name for name, *_ in queries(config).asked),
        ],
        "users": active,
        "films": ratings.n_items,
        "ratings": ratings.n_ratings,
        "models": list(PUBLISHED),
        "rows_at_most": active * len(PUBLISHED) * config.publish.top_n,
        "users_a_block": block,
        "seconds_expected": round(expected.seconds),
        "expected_because": expected.evidence,
    }


def measure(ratings: Ratings, config: Config) -> Evaluation:
    """The night's metrics, and the weights of its blend, by the settings."""
    return evaluate(ratings, config.models, **evaluation_inputs(ratings, config))


def ingest_configured(database: Database, config: Config) -> list[Report]:
    """Ingest what `ingest.paths` and queries name; a refused one is reported, and does not stop the night."""
    reports = ingest(
        database, config.ingest.paths, ingest_settings(config), queries=queries(config)
    )
    for report in reports:
        tell = log_warning if report.status == "refused" else log_info
        tell(
            "ingest",
            file=report.file,
            status=report.status,
            why=report.why,
            read=report.read,
            new=report.accepted,
        )
    return reports


def _opening(config: Config) -> dict[str, object]:
    return {
        "forced": 0,
        "top_n": config.publish.top_n,
        "seed": config.evaluation.seed,
        "config_sha256": config.sha256(),
        "versions": dumps(versions()),
    }


@cache
def versions() -> dict[str, str]:
    """Of the packages that rows depend on, as the disk has them."""
    return {"python": python_version()} | {name: version(name) for name in RECORDED}


def _facts(loaded: Loaded, order: Order, config: Config) -> dict[str, object]:
    ratings = loaded.ratings
    return {
        "n_users": ratings.n_users,
        "n_movies": ratings.n_items,
        "n_ratings": ratings.n_ratings,
        "rating_min": ratings.scale[0],
        "rating_max": ratings.scale[1],
        "data_sha256": loaded.sha256,
        "last_batch_id": loaded.last_batch_id,
        "known_until": _end_of(order.as_of, config),
    }


def _end_of(day: date | None, config: Config) -> int | None:
    """The midnight that ends a day, seconds since 1970 UTC."""
    if day is None:
        return None
    next_day = datetime.combine(
        min(day, LAST_DAY) + timedelta(days=1), time(), ZoneInfo(config.schedule.timezone)
    )
    return int(next_day.timestamp())


def _count(reports: list[Report], summary: RunSummary) -> None:
    """What became of the rows of this night's files."""
    merged = [report for report in reports if report.status == "merged"]
    summary.rows_read = sum(report.read for report in merged)
    summary.rows_accepted = sum(report.accepted for report in merged)
    summary.rows_rejected = sum(report.rejected for report in merged)
    summary.files_refused = sum(report.status == "refused" for report in reports)


def _blamed(error: BaseException) -> tuple[Literal["failed", "abandoned"], str]:
    """What a run that came to no end is, and why.

    One that a signal ended did not fail by itself: it is abandoned, which the scheduler tries again.
    """
    if isinstance(error, SystemExit):
        return "abandoned", "ended by a signal"
    return "failed", str(error) or type(error).__name__


def _mark_failed(database: Database, key: RunKey, error: BaseException) -> None:
    """Leave the reason in `runs`; where even that cannot be written, the next run marks this one abandoned."""
    status, told = _blamed(error)
    log_warning(status, error=told)
    with suppress(SQLAlchemyError, CannotPublishError), database.writer.begin() as connection:
        publish.finish(connection, key, status, error=told[:2000])
