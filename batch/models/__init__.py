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
"""The models whose lists are published. A module of the same name has `fit(ratings, params, seed)`; params is None for
one without knobs in `batch.params`. docs/your-own-model.md adds one."""

REFERENCE = ("popular", "bias")
"""The baselines, fitted and measured beside them; a model that does not beat these is not worth its night."""

PUBLISHED = (*PERSONAL, "blend")
"""The names that lists are published under; `batch.ranking` makes the blend."""


def no_evidence(cells: Pairs) -> Evidence:
    """For a model that is only measured, and has no lists to explain."""
    return NoEvidence(len(cells.rows))


@dataclass(frozen=True)
class Scores:
    """What a model says of a block of b users and every item; `nan`, with support 0, where it cannot say."""

    rating: (
        Floats  # (b, n_items) predicted stars, unclipped; all nan for a model that predicts none
    )
    support: Floats  # (b, n_items) the evidence behind each
    relevance: Floats  # (b, n_items) what a list is ordered by: the rating, unless the model documents otherwise
    explain: Callable[[Pairs], Evidence] = (
        no_evidence  # why, of some cells of the block; it may use what scoring found
    )


class Model(Protocol):
    """A fitted model: frozen, complete, and free of side effects."""

    @property
    def baseline(self) -> Baseline:
        """What stands in for a rating where the model cannot say."""

    def score(self, users: Ints) -> Scores:
        """Score every item for the users of these rows, (b,)."""

    def weights(self) -> Mapping[str, Any]:
        """Named float arrays worth keeping after the run; empty for models that are the ratings themselves."""


def fit(name: str, ratings: Ratings, params: Any, seed: int) -> Model:
    """Fit the model of that name. Its module is imported only now: torch alone takes seconds to load."""
    model: Model = import_module(f"{__name__}.{name}").fit(ratings, params, seed)
    _give_back()
    return model


def _give_back() -> None:
    """Return freed memory to the system: glibc keeps what each thread freed, half a GB after 25 million ratings."""
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
