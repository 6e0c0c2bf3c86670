"""Fitted models -> rows of `recommendations`, and the popular list."""

from dataclasses import dataclass

import numpy as np

from batch.config import Config
from batch.job import executors
from batch.models import PUBLISHED
from batch.params import SCORE_DECIMALS
from batch.ranking.ensemble import Ensemble
from batch.ranking.fallback import Lists, with_fallback, without_fallback
from batch.ranking.mask import Mask
from batch.ranking.metrics import Metrics
from batch.ratings import Floats, Ints, Ratings, blocks
from batch.store import publish
from batch.store.checks import FALLBACK_ROWS, ROWS, SPARE_ROWS
from batch.store.database import Database
from batch.store.publish import RunKey
from batch.telemetry import progress


@dataclass(frozen=True)
class WrittenRows:
    """Rows of lists that were written, by model."""

    total: dict[str, int]  # without spare ones
    fallback: dict[str, int]  # of those, popular films in place of the model's
    spare: dict[str, int]

    def counts(self) -> dict[str, Metrics]:
        """The metrics of each model that the audit compares with the table."""
        return {
            name: {ROWS: count, SPARE_ROWS: self.spare[name]} for name, count in self.total.items()
        }

    def fallback_shares(self) -> dict[str, Metrics]:
        """The metric of each model with rows: the share of popular films in them."""
        return {
            name: {FALLBACK_ROWS: self.fallback[name] / count}
            for name, count in self.total.items()
            if count
        }


def score_users(
    database: Database,
    config: Config,
    key: RunKey,
    ensemble: Ensemble,
    popular: "PopularFilms",
    users: Ints,
    block: int,
) -> WrittenRows:
    """Score, rank and write these users, (u,), block by block, all models in one pass."""
    ratings = ensemble.ratings
    total = dict.fromkeys(PUBLISHED, 0)
    fallback = dict.fromkeys(PUBLISHED, 0)
    spare = dict.fromkeys(PUBLISHED, 0)
    lengths = config.publish.top_n, config.publish.spare
    with (
        executors.open_executor(config) as score,
        progress("scoring users", len(users)) as advance,
    ):
        user_blocks = (users[positions] for positions in blocks(len(users), block))
        for scored, ranked in score(ensemble, PUBLISHED, *lengths, user_blocks):
            with database.writer.begin() as connection:
                publish.require_ownership(connection, key)
                for name, ranked_block in ranked.items():
                    lists = without_fallback(ranked_block, ratings)
                    # `plain` lists end where the method has no prediction.
                    if config.preset != "plain":
                        lists = popular.complete(lists, scored)
                    n_rows = publish.write_lists(connection, key, name, ratings, scored, lists)
                    is_shown = lists.is_shown
                    total[name] += int(is_shown.sum())
                    fallback[name] += int((lists.is_fallback & is_shown).sum())
                    spare[name] += n_rows - int(is_shown.sum())
            advance(len(scored))
    return WrittenRows(total, fallback, spare)


@dataclass(frozen=True)
class PopularFilms:
    """Films that complete lists which the models leave short."""

    ratings: Ratings
    mask: Mask
    columns: Ints  # best first
    user_counts: Ints  # (n_users,) ratings of each user
    item_counts: Floats  # (n_items,) what they are ordered by: ratings, the old ones counting less
    least_ratings: int  # a user with fewer gets popular films only

    def complete(self, lists: Lists, users: Ints) -> Lists:
        """One model's lists of a block of users, (b,), completed."""
        excluded = self.mask.excluded(self.ratings, users)
        counts = self.user_counts[users]
        return with_fallback(lists, excluded, counts, self.columns, self.least_ratings)


def popular_films(ensemble: Ensemble, mask: Mask, least_ratings: int) -> PopularFilms:
    """Films that somebody rated, without those that are filtered for everyone."""
    ratings = ensemble.ratings
    item_counts = ensemble.popularity.round(SCORE_DECIMALS)
    columns = np.lexsort((ensemble.tie_order, -item_counts))
    is_rated = ratings.item_counts()[columns] > 0
    is_filtered = np.isin(columns, mask.for_everyone)
    return PopularFilms(
        ratings=ratings,
        mask=mask,
        columns=columns[is_rated & ~is_filtered],
        user_counts=ratings.user_counts(),
        item_counts=item_counts,
        least_ratings=least_ratings,
    )


def write_popular(database: Database, key: RunKey, popular: PopularFilms, n: int) -> None:
    """Write the list for users without any, scored by fading numbers of ratings."""
    columns = popular.columns[:n]
    movie_ids = popular.ratings.movie_ids[columns].tolist()
    counts = popular.item_counts[columns].tolist()
    with database.writer.begin() as connection:
        publish.require_ownership(connection, key)
        publish.write_popular(connection, key, movie_ids, counts)
