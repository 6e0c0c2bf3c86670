"""What weighed in a prediction -> the reason that is stored beside it: ids, and weights that add up."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from batch.params import LARGEST
from batch.ratings import NOBODY, Floats, Ints

NAMED = 3
"""Films, or genres, that a reason names at most; what all others add is one number."""
PARTS_OF_STAR, PARTS_OF_ODDS = 1000, 100
"""Weights are stored in thousandths of a star, or hundredths of log-odds."""


class Ids(Protocol):
    """Where columns become the database's ids, such as `Ratings`."""

    @property
    def movie_ids(self) -> Ints:
        """(n_items,)"""

    @property
    def genre_ids(self) -> Ints:
        """(n_genres,)"""


class Evidence(Protocol):
    """Why a model says what it says of p cells. docs/reasons.md has the form in which each kind is stored."""

    def stored(self, ids: Ids) -> list[str]:
        """A JSON object for each cell; empty where there is nothing to tell."""


@dataclass(frozen=True)
class NoEvidence:
    """Of a model whose lists nobody reads."""

    count: int  # p

    def stored(self, _ids: Ids) -> list[str]:
        """Nothing."""
        return [""] * self.count


@dataclass(frozen=True)
class OwnRatings:
    """The user's own ratings that weigh most."""

    films: Ints  # (p, NAMED) columns, heaviest first, NOBODY where there are fewer
    stars: Floats  # (p, NAMED) that the user gave them
    weights: Floats  # (p, NAMED) stars that each adds to the baseline
    departure: Floats  # (p,) of the prediction from the baseline, stars; nan where nothing is said
    listed_for: Ints  # (p,) the film that did most to put this one into the list, where another weight orders it

    def stored(self, ids: Ids) -> list[str]:
        """{"kind": "item_item", "films": [[movie_id, stars, weight], ...], "others": weight, "listed_for": movie_id}"""
        weights, others = _rounded(self.weights, self.departure, PARTS_OF_STAR)
        films, stars = _ids(ids.movie_ids, self.films), self.stars.tolist()
        listed_for = _ids(ids.movie_ids, self.listed_for[:, None])
        return [
            ""
            if rest is None
            else _object(
                kind='"item_item"',
                films=_list(
                    f"[{n},{_plain(s)},{_number(w, PARTS_OF_STAR)}]"
                    for n, s, w in zip(*named, strict=True)
                    if w
                ),
                others=_number(rest, PARTS_OF_STAR),
                listed_for="" if first == NOBODY else str(first),
            )
            for *named, rest, (first,) in zip(
                films, stars, weights, others, listed_for, strict=True
            )
        ]


@dataclass(frozen=True)
class Neighbours:
    """The others who rated the film: how many, never who."""

    alike: Ints  # (p,) of positive similarity
    mean: Floats  # (p,) stars they gave the film; 0 where there are none, here and below
    closest: Floats  # (p,) the largest similarity
    opposed: Ints  # (p,) of negative similarity
    opposed_mean: Floats  # (p,) stars they gave it
    departure: Floats  # (p,) as above

    def stored(self, _ids: Ids) -> list[str]:
        """{"kind": "user_user", "neighbours": n, "mean": stars, "agreement": s, "opposed": [n, stars], "weight": w}"""
        _, weights = _rounded(np.empty((len(self.alike), 0)), self.departure, PARTS_OF_STAR)
        columns = self.alike, self.mean, self.closest, self.opposed, self.opposed_mean
        return [
            ""
            if weight is None
            else _object(
                kind='"user_user"',
                neighbours=str(alike),
                mean=f"{mean:.2f}" if alike else "",
                agreement=f"{closest:.2f}" if alike else "",
                opposed=f"[{opposed},{opposed_mean:.2f}]" if opposed else "",
                weight=_number(weight, PARTS_OF_STAR),
            )
            for alike, mean, closest, opposed, opposed_mean, weight in zip(
                *(column.tolist() for column in columns), weights, strict=True
            )
        ]


@dataclass(frozen=True)
class OwnGenres:
    """The genres of the film that weigh most with this user."""

    genres: Ints  # (p, NAMED) columns of genres, heaviest first, NOBODY where there are fewer
    weights: Floats  # (p, NAMED) stars that the prediction would lose without each
    departure: Floats  # (p,) as above

    def stored(self, ids: Ids) -> list[str]:
        """{"kind": "neural", "genres": [[genre_id, weight], ...], "others": weight}"""
        weights, others = _rounded(self.weights, self.departure, PARTS_OF_STAR)
        return [
            ""
            if rest is None
            else _object(
                kind='"neural"',
                genres=_list(
                    f"[{n},{_number(w, PARTS_OF_STAR)}]" for n, w in zip(*named, strict=True) if w
                ),
                others=_number(rest, PARTS_OF_STAR),
            )
            for *named, rest in zip(_ids(ids.genre_ids, self.genres), weights, others, strict=True)
        ]


@dataclass(frozen=True)
class Opaque:
    """A network that has a weight of its own for every film of every user, and can tell nothing about it."""

    departure: Floats  # (p,) as above

    def stored(self, _ids: Ids) -> list[str]:
        """{"kind": "flattened", "weight": weight}"""
        _, weights = _rounded(np.empty((len(self.departure), 0)), self.departure, PARTS_OF_STAR)
        return [
            ""
            if weight is None
            else _object(kind='"flattened"', weight=_number(weight, PARTS_OF_STAR))
            for weight in weights
        ]


@dataclass(frozen=True)
class Shares:
    """What speaks for a film among the user's candidates, in log-odds; or that it was no candidate."""

    names: Sequence[str]
    start: float  # log-odds of the user's average candidate
    shares: Floats  # (p, len(names)) added to it
    stands_in: Sequence[bool]  # (p,) no candidate: it fills up a list that is short

    def stored(self, _ids: Ids) -> list[str]:
        """{"kind": "blend", "start": odds, "shares": {name: odds, ...}}, or {"kind": "filler"}"""
        every = np.column_stack([np.full(len(self.shares), self.start), self.shares])
        added, _ = _rounded(every, every.sum(axis=1), PARTS_OF_ODDS)
        return [
            _object(kind='"filler"')
            if stands_in
            else _object(
                kind='"blend"',
                start=_number(start, PARTS_OF_ODDS),
                shares=_object(
                    {
                        name: _number(share, PARTS_OF_ODDS)
                        for name, share in zip(self.names, shares, strict=True)
                        if share
                    }
                ),
            )
            for (start, *shares), stands_in in zip(added, self.stands_in, strict=True)
        ]


def _rounded(weights: Floats, total: Floats, unit: int) -> tuple[list[list[int]], list[int | None]]:
    """Weights, (p, k), and what is missing to their total, (p,), in parts of `unit` that add up to the rounded total.

    They are differences of rounded running sums, so that each is right to one such part. None where there is no total.
    """
    said = ~np.isnan(total)
    known = np.column_stack(
        [np.nan_to_num(weights).clip(-LARGEST, LARGEST).cumsum(axis=1), np.nan_to_num(total)]
    )
    sums = np.rint(known.clip(-LARGEST, LARGEST) * unit).astype(np.int64)
    steps = np.diff(sums, axis=1, prepend=0)
    others = steps[:, -1].tolist()
    return steps[:, :-1].tolist(), [
        rest if told else None for rest, told in zip(others, said.tolist(), strict=True)
    ]


def _ids(of_columns: Ints, columns: Ints) -> list[list[int]]:
    """The database's ids of columns; NOBODY stays."""
    found: list[list[int]] = np.append(of_columns, NOBODY)[columns].tolist()
    return found


def _object(content: Mapping[str, str] | None = None, **fields: str) -> str:
    """A JSON object of texts that are JSON already; what is empty is left out."""
    return (
        "{"
        + ",".join(
            f'"{name}":{text}' for name, text in {**(content or {}), **fields}.items() if text
        )
        + "}"
    )


def _list(parts: Iterator[str]) -> str:
    return f"[{','.join(parts)}]"


def _number(parts: int, unit: int) -> str:
    """So many parts of `unit`, without a zero that says nothing."""
    whole, rest = divmod(parts, unit)
    return repr(parts / unit) if rest else str(whole)


def _plain(stars: float) -> str:
    return f"{stars:g}"
