"""Settings -> what the steps of a night are given: how to judge files, what to measure by, how many users at once."""

from typing import TypedDict

from batch.config import Config
from batch.ingest import Queries, Settings
from batch.ingest.merge import Limits
from batch.params import LIKED_SHARE
from batch.ratings import Ratings

BLOCK_SHARE = 0.055
"""Of the memory, for the users that are scored together, and each core has such a block: larger ones are no faster."""
BLOCK_ARRAYS = 12
"""Arrays (b, n_items) of doubles that there are at once while a block is scored."""
TOGETHER = 16
"""Users at most that a model listens for in one pass over all ratings: one more would be a pass of its own."""
MOST_A_BLOCK = 128
"""Users: enough blocks for every core also where users are few. Rows must not depend on how many cores there are."""


def queries(config: Config) -> Queries:
    """What ingest asks of tables that are there already."""
    return Queries(config.ingest.query, config.ingest.films_query, config.ingest.query_url)


def ingest_settings(config: Config) -> Settings:
    """What ingest needs of the settings."""
    chosen = config.ingest
    return Settings(
        chosen.scale,
        chosen.columns.model_dump(),
        Limits(chosen.max_rejects, chosen.max_reject_share),
    )


def block_size(ratings: Ratings, memory_mb: int) -> int:
    """Users scored at a time: what a share of the memory holds."""
    bytes_a_user = BLOCK_ARRAYS * 8 * max(ratings.n_items, 1)
    held = min(MOST_A_BLOCK, max(1, int(BLOCK_SHARE * memory_mb * 1e6 / bytes_a_user)))
    return held - held % TOGETHER if held > TOGETHER else held


class EvaluationInputs(TypedDict):
    """How models are held against ratings."""

    seed: int
    n: int
    relevant_from: float
    block: int
    users: int
    diversity: float


def evaluation_inputs(ratings: Ratings, config: Config) -> EvaluationInputs:
    """What the settings say of measuring."""
    liked = config.evaluation.relevant_from
    return {
        "seed": config.evaluation.seed,
        "n": config.publish.top_n,
        "relevant_from": LIKED_SHARE * ratings.scale[1] if liked is None else liked,
        "block": block_size(ratings, config.resources.memory_mb),
        "users": config.evaluation.users,
        "diversity": config.publish.diversity,
    }
