"""Ratings -> fitted models: what a model is, and the only list of them."""

import ctypes
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from batch.models.baseline import Baseline
from batch.models.evidence import Evidence, NoEvidence
from batch.ratings import Floats, Ints, Pairs, Ratings

PERSONAL = ("user_user", "item_item", "neural")
"""The models whose lists are published.

The module of the same name has `fit(ratings, params, seed)`; `params` is None
for a model without parameters in `batch.params`. docs/your-own-model.md shows
how to add one.
"""

REFERENCE = ("popular", "popular_all", "bias")
"""The baselines, fitted and measured beside the models.

A model that is not better than these is not worth its time.
"""

PUBLISHED = (*PERSONAL, "blend")
"""The names under which lists are published; the blend is made in `batch.ranking`."""


def no_evidence(cells: Pairs) -> Evidence:
    """Empty reasons, for models whose lists are not published."""
    return NoEvidence(len(cells.rows))


@dataclass(frozen=True)
class Scores:
    """Predictions for a block of b users and every item.

    Where a model has no prediction, `relevance` is nan and `support` 0.
    """

    rating: Floats  # (b, n_items) stars, not clipped; nan where none is predicted
    support: Floats  # (b, n_items) how much evidence there is
    relevance: Floats  # (b, n_items) the order of lists
    """The rating, unless the model documents otherwise."""
    explain: Callable[[Pairs], Evidence] = no_evidence
    """Some cells of the block -> reasons for them.

    It may keep intermediate results of scoring.
    """


class Model(Protocol):
    """A fitted model: frozen, complete, and without side effects."""

    @property
    def baseline(self) -> Baseline:
        """The rating to use where the model has no prediction."""

    def score(self, users: Ints) -> Scores:
        """Score every item for the users of these rows, (b,)."""

    def weights(self) -> Mapping[str, Any]:
        """Float arrays by name, to save with the run.

        Empty for a model that consists of the ratings.
        """


def fit(name: str, ratings: Ratings, params: Any, seed: int, **chosen: Any) -> Model:
    """Fit the model of this name.

    `chosen` is what it would else choose itself, as `epochs` of the network. Its
    module is imported here, not at the top: torch alone takes seconds to load.
    """
    module = import_module(f"{__name__}.{name}")
    model: Model = module.fit(ratings, params, seed, **chosen)
    _release_memory()
    return model


def _release_memory() -> None:
    """Return freed memory to the system.

    glibc keeps 0.5 GB of it after fitting 25 million ratings.
    """
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
