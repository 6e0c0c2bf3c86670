"""The largest parts of predictions, as arrays -> the reason stored beside each listed film."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from batch import reasons
from batch.params import LARGEST
from batch.ratings import NOBODY, Floats, Ints

NAMED = 3
"""Maximum films, or genres, that a reason names; the rest is added up to one number."""
NO_REASON = ""


class Ids(Protocol):
    """The database's ids of columns, as in `Ratings`."""

    @property
    def movie_ids(self) -> Ints:
        """(n_items,)"""

    @property
    def genre_ids(self) -> Ints:
        """(n_genres,)"""


class Evidence(Protocol):
    """The largest parts of p predictions; docs/reasons.md has the stored form of each kind."""

    def stored(self, ids: Ids) -> list[str]:
        """(p,) JSON objects as text; empty for a prediction without a reason."""


@dataclass(frozen=True)
class NoEvidence:
    """For a model whose lists are not published."""

    count: int  # p

    def stored(self, _ids: Ids) -> list[str]:
        """(p,) empty texts."""
        return [NO_REASON] * self.count


@dataclass(frozen=True)
class OwnRatings:
    """The user's own ratings that weigh most; reasons of kind `item_item`."""

    films: Ints  # (p, NAMED) columns, heaviest first, NOBODY where there are fewer
    stars: Floats  # (p, NAMED) the user's ratings of them
    weights: Floats  # (p, NAMED) stars that each adds to the baseline
    departure: Floats  # (p,) prediction - baseline, stars; nan without a prediction
    listed_for: Ints  # (p,) the film of the largest learnt weight; NOBODY without learnt weights

    def stored(self, ids: Ids) -> list[str]:
        """(p,) JSON objects as text; empty for a prediction without a reason."""
        weights, others = _rounded(self.weights, self.departure, reasons.PARTS_OF_STAR)
        movie_ids = _ids(ids.movie_ids, self.films)
        stars = self.stars.tolist()
        listed_for = _ids(ids.movie_ids, self.listed_for)
        texts = []
        for cell, rest in enumerate(others):
            if rest is None:
                texts.append(NO_REASON)
                continue
            films = zip(movie_ids[cell], stars[cell], weights[cell], strict=True)
            first = listed_for[cell]
            texts.append(reasons.own_ratings(films, rest, None if first == NOBODY else first))
        return texts


@dataclass(frozen=True)
class Neighbours:
    """How many similar and opposed users rated the film, never who; reasons of kind `user_user`."""

    similar: Ints  # (p,) users of positive similarity
    mean: Floats  # (p,) stars they gave the film; 0 without such users
    agreement: Floats  # (p,) the largest similarity; 0 without such users
    opposed: Ints  # (p,) users of negative similarity
    opposed_mean: Floats  # (p,) stars they gave it; 0 without such users
    departure: Floats  # (p,) prediction - baseline, stars; nan without a prediction

    def stored(self, _ids: Ids) -> list[str]:
        """(p,) JSON objects as text; empty for a prediction without a reason."""
        weights = _rounded_totals(self.departure)
        cells = zip(
            self.similar.tolist(),
            self.mean.tolist(),
            self.agreement.tolist(),
            self.opposed.tolist(),
            self.opposed_mean.tolist(),
            weights,
            strict=True,
        )
        texts = []
        for similar, mean, agreement, opposed, opposed_mean, weight in cells:
            if weight is None:
                texts.append(NO_REASON)
                continue
            figures = similar, mean, agreement, opposed, opposed_mean
            texts.append(reasons.neighbours(*figures, weight))
        return texts


@dataclass(frozen=True)
class OwnGenres:
    """The genres of the film that weigh most for the user; reasons of kind `neural`."""

    genres: Ints  # (p, NAMED) columns of genres, heaviest first, NOBODY where there are fewer
    weights: Floats  # (p, NAMED) stars that the prediction would lose without each
    departure: Floats  # (p,) prediction - baseline, stars; nan without a prediction

    def stored(self, ids: Ids) -> list[str]:
        """(p,) JSON objects as text; empty for a prediction without a reason."""
        weights, others = _rounded(self.weights, self.departure, reasons.PARTS_OF_STAR)
        genre_ids = _ids(ids.genre_ids, self.genres)
        texts = []
        for cell, rest in enumerate(others):
            if rest is None:
                texts.append(NO_REASON)
                continue
            genres = zip(genre_ids[cell], weights[cell], strict=True)
            texts.append(reasons.own_genres(genres, rest))
        return texts


@dataclass(frozen=True)
class Opaque:
    """The flattened network, whose weights name no cause; reasons of kind `flattened`."""

    departure: Floats  # (p,) prediction - baseline, stars; nan without a prediction

    def stored(self, _ids: Ids) -> list[str]:
        """(p,) JSON objects as text; empty for a prediction without a reason."""
        weights = _rounded_totals(self.departure)
        return [NO_REASON if weight is None else reasons.departure(weight) for weight in weights]


@dataclass(frozen=True)
class Shares:
    """What sets a film apart from the user's other candidates; reasons of kind `blend`."""

    names: Sequence[str]
    start: float  # log-odds of the user's average candidate
    shares: Floats  # (p, len(names)) log-odds added to it
    is_filler: Sequence[bool]  # (p,) no candidate: the film fills a list that would be short

    def stored(self, _ids: Ids) -> list[str]:
        """(p,) JSON objects as text."""
        start = np.full(len(self.shares), self.start)  # (p,)
        terms = np.column_stack([start, self.shares])  # (p, 1 + len(names))
        rounded, _ = _rounded(terms, terms.sum(axis=1), reasons.PARTS_OF_ODDS)
        texts = []
        for (first, *shares), is_filler in zip(rounded, self.is_filler, strict=True):
            if is_filler:
                texts.append(reasons.filler())
            else:
                texts.append(reasons.shares(first, dict(zip(self.names, shares, strict=True))))
        return texts


def _rounded(weights: Floats, total: Floats, unit: int) -> tuple[list[list[int]], list[int | None]]:
    """Weights, (p, k), and the rest of their totals, (p,), in whole parts of 1 / `unit`.

    Each is the difference of two rounded running sums, so that it is right to one such part and
    all of a row add up to the rounded total. The rest is None where the total is nan.
    """
    running = np.nan_to_num(weights).clip(-LARGEST, LARGEST).cumsum(axis=1)  # (p, k)
    sums = np.column_stack([running, np.nan_to_num(total)]).clip(-LARGEST, LARGEST)  # (p, k + 1)
    parts = np.diff(np.rint(sums * unit).astype(np.int64), axis=1, prepend=0)
    rests = parts[:, -1].tolist()
    has_total = (~np.isnan(total)).tolist()
    others = [rest if has else None for rest, has in zip(rests, has_total, strict=True)]
    return parts[:, :-1].tolist(), others


def _rounded_totals(total: Floats) -> list[int | None]:
    """Totals, (p,), in whole parts of a star; None where one is nan."""
    no_weights = np.empty((len(total), 0))
    _, rounded = _rounded(no_weights, total, reasons.PARTS_OF_STAR)
    return rounded


def _ids(ids: Ints, columns: Ints) -> list[Any]:
    """The database's ids of columns, as lists of the same shape; NOBODY stays."""
    return np.append(ids, NOBODY)[columns].tolist()
