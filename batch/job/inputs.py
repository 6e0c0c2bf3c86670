"""Settings -> the inputs of the steps of a run."""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from batch.config import Config, ConfigError
from batch.ingest import Queries, Settings
from batch.ingest.file_format import Choices
from batch.ingest.merge import Limits
from batch.params import LIKED_SHARE
from batch.ranking.evaluate import Inputs
from batch.ratings import Ratings
from batch.store.scale import Scale

BLOCK_SHARE = 0.055
"""Share of the memory for one block of users. Larger blocks are no faster."""
BLOCK_ARRAYS = 12
"""Arrays (b, n_items) of doubles in memory at once while a block is scored."""
PASS_USERS = 16
"""Maximum number of users that a model scores in one pass over all ratings."""
MAX_BLOCK = 128
"""Maximum users in a block: so small that even few users make a block for every core.

It is the same for any number of cores, so that rows are the same too.
"""
LAST_DAY = date(9000, 1, 1)
"""Later days cannot be represented in every time zone, and no rating is that new."""


def queries(config: Config) -> Queries:
    """The queries that ingest runs on tables of other applications."""
    chosen = config.ingest
    return Queries(
        ratings=chosen.query,
        films=chosen.films_query,
        url=chosen.query_url,
        timeout=chosen.query_timeout,
        seen=chosen.seen_query,
    )


def ingest_settings(config: Config) -> Settings:
    """The settings of ingest."""
    chosen = config.ingest
    limits = Limits(chosen.max_rejects, chosen.max_reject_share)
    choices = Choices(chosen.columns.model_dump(), chosen.format, chosen.user, chosen.unrated)
    return Settings(chosen.scale, choices, limits)


def end_of_day(day: date | None, config: Config) -> int | None:
    """The midnight that ends a day in schedule.timezone, in seconds since 1970 UTC."""
    if day is None:
        return None
    next_day = min(day, LAST_DAY) + timedelta(days=1)
    midnight = datetime.combine(next_day, time(), ZoneInfo(config.schedule.timezone))
    return int(midnight.timestamp())


def block_size(ratings: Ratings, memory_mb: int) -> int:
    """Users scored at a time: as many as a share of the memory holds."""
    bytes_per_user = BLOCK_ARRAYS * 8 * max(ratings.n_items, 1)
    n_users = int(BLOCK_SHARE * memory_mb * 1e6 / bytes_per_user)
    n_users = min(MAX_BLOCK, max(1, n_users))
    if n_users > PASS_USERS:
        return n_users - n_users % PASS_USERS  # whole passes
    return n_users


def liked_from(config: Config, scale: Scale) -> float:
    """The stars from which a film counts as liked, on this scale."""
    if config.evaluation.relevant_from is not None:
        return config.evaluation.relevant_from
    return LIKED_SHARE * scale[1]


def evaluation_inputs(ratings: Ratings, config: Config) -> Inputs:
    """The settings of an evaluation, defaults filled in.

    Raises ConfigError if every rating would count as liked, or none.
    """
    relevant_from = liked_from(config, ratings.scale)
    lowest, highest = ratings.scale
    is_set = config.evaluation.relevant_from is not None
    if is_set and ratings.n_ratings and not lowest <= relevant_from <= highest:
        raise ConfigError(
            f"evaluation.relevant_from: {relevant_from:g} is outside the scale of the ratings, "
            f"{lowest:g} to {highest:g}; change it, or leave it out for {LIKED_SHARE * highest:g}"
        )
    return {
        "seed": config.evaluation.seed,
        "n": config.publish.top_n,
        "relevant_from": relevant_from,
        "block": block_size(ratings, config.resources.memory_mb),
        "users": config.evaluation.users,
        "diversity": config.publish.diversity,
    }
