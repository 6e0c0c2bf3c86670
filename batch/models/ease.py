"""Profiles of users -> learnt weights between items, all neighbours weighed at once instead of one by one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numba import types
from scipy import sparse
from scipy.linalg import lapack

from batch.models.attribution import strongest, strongest_through
from batch.models.compiled import compiled, in_parts, read_only
from batch.models.kernels import cells
from batch.params import LIKED_SHARE
from batch.ratings import Floats, Ints, Pairs, Ratings, Sparse, blocks, select_stored, with_data

INDIFFERENT = 0.3
"""Share of the scale's maximum up to which a rating says nothing for a film: 1.5 of 5 stars."""
COMMON_SCALE = 5.0
"""Profiles are put on this scale, so that one ridge serves ratings to 5, 10 or 100."""
MAX_CELLS = 25_000_000
"""Cells of the largest dense array, 200 MB: above, only the most rated films are weighed."""
ROWS_A_PART, PAIRS_A_PART = 16, 4096
"""How much a thread does before it asks for more."""
CELLS_AT_ONCE = 512
"""Cells whose films are looked through together: so many times n_users doubles."""

_INTS, _COLUMNS, _FLOATS, _PLACES = (
    types.Array(of, 1, "C", readonly=True)
    for of in (types.int64, types.int32, types.float64, types.int32)
)
_READ = types.Array(types.float64, 2, "C", readonly=True)
_BLOCK = types.float64[:, ::1]


@dataclass(frozen=True)
class ThroughUsers:
    """x -> x B, with P = (X'X + ridge I)^-1 never made: the system is as large as there are users (Woodbury)."""

    raters: Sparse  # X', CSR (n_items, n_users)
    inverse: Floats  # (XX' + ridge I)^-1, (n_users, n_users)
    diagonal: Floats  # of P, (n_items,)
    ridge: float

    def score(self, rows: Sparse) -> Floats:
        """Score every item for these profiles, CSR (b, n_items)."""
        own = rows.toarray()  # (b, n_items)
        return own - (own - (self.raters @ self._through(rows).T).T) / self.ridge / self.diagonal

    def at(self, rows: Sparse, pairs: Pairs) -> Floats:
        """The same of some cells only, (p,)."""
        own = rows.toarray()[pairs]
        products = np.empty(len(own))  # (p,)
        given = (
            read_only(self._through(rows)),
            *_arrays(self.raters),
            *map(read_only, pairs),
            products,
        )
        in_parts(lambda start, stop: _products(start, stop, *given), len(own), PAIRS_A_PART)
        return own - (own - products) / self.ridge / self.diagonal[pairs.columns]

    def strongest(self, rows: Sparse, pairs: Pairs) -> Ints:
        """The column of each profile that adds most to a cell, (p,), NOBODY where none adds anything."""
        profiles, raters, found = (
            cells(rows),
            cells(self.raters),
            np.empty(len(pairs.rows), dtype=np.int64),
        )
        for some in blocks(len(found), CELLS_AT_ONCE):
            part = Pairs(pairs.rows[some], pairs.columns[some])
            targets, lines = np.unique(part.columns, return_inverse=True)
            through = self.raters[targets] @ self.inverse  # (n_targets, n_users)
            scale = 1.0 / self.ridge / self.diagonal[part.columns]
            found[some] = strongest_through(profiles, part, raters, through, lines, scale)
        return found

    def _through(self, rows: Sparse) -> Floats:
        """x X' (XX' + ridge I)^-1, (b, n_users): x P = (x - this X) / ridge."""
        shared: Floats = (
            rows @ self.raters
        ).toarray() @ self.inverse  # hardly a zero: a dense product is faster
        return shared


@dataclass(frozen=True)
class ThroughItems:
    """x -> x B over the films that are weighed; of the others nothing is said, which is 0."""

    kept: Ints  # (m,) columns
    places: Ints  # (n_items,) int32: where each column is among them, -1 if it is not
    weights: Floats  # B, (m, m), 0 on the diagonal

    def score(self, rows: Sparse) -> Floats:
        """Score every item for these profiles, CSR (b, n_items)."""
        scores = np.zeros(rows.shape)  # (b, n_items)
        given = *_arrays(rows), *map(read_only, (self.places, self.kept, self.weights)), scores
        in_parts(lambda start, stop: _project(start, stop, *given), rows.shape[0], ROWS_A_PART)
        return scores

    def at(self, rows: Sparse, pairs: Pairs) -> Floats:
        """The same of some cells only, (p,)."""
        by_row = np.argsort(pairs.rows, kind="stable")
        ends = np.concatenate(
            [[0], np.cumsum(np.bincount(pairs.rows, minlength=rows.shape[0]))]
        )  # (b + 1,)
        columns = self.places[pairs.columns[by_row]]
        found = np.zeros(len(columns))
        given = *_arrays(rows), *map(read_only, (self.places, ends, columns, self.weights)), found
        in_parts(lambda start, stop: _project_some(start, stop, *given), rows.shape[0], ROWS_A_PART)
        scores = np.empty(len(found))
        scores[by_row] = found
        return scores

    def strongest(self, rows: Sparse, pairs: Pairs) -> Ints:
        """The column of each profile that adds most to a cell, (p,), NOBODY where none adds anything."""
        return strongest(cells(rows), pairs, self.places, self.weights)


def interpolate(profiles: Sparse, ridge: float) -> ThroughUsers | ThroughItems:
    """min |X - X B|^2 + ridge |B|^2 with diag(B) = 0: B = I - P / diag(P), P = (X'X + ridge I)^-1 (Steck 2019, EASE).

    `profiles` is X, CSR (n_users, n_items). Solved on its smaller side.
    """
    n_users, n_items = profiles.shape
    if n_users <= n_items and n_users * n_items <= MAX_CELLS:
        raters = profiles.T.tocsr()
        inverse = np.linalg.inv(
            (profiles @ raters).toarray() + ridge * np.eye(n_users)
        )  # (n_users, n_users)
        shares = raters.multiply(raters @ inverse).sum(axis=1)  # (n_items,)
        return ThroughUsers(raters, inverse, (1.0 - shares) / ridge, ridge)
    most = int(np.sqrt(MAX_CELLS))
    rated = np.bincount(profiles.indices, minlength=n_items)
    kept = np.sort(np.lexsort((np.arange(n_items), -rated))[:most])  # ties by key
    places = np.full(n_items, -1, dtype=np.int32)
    places[kept] = np.arange(len(kept))
    said = select_stored(profiles, (places[profiles.indices] >= 0) & (profiles.data != 0))
    del profiles  # as large as the ratings, and there are two more copies to come
    columns = sparse.csr_array(
        (said.data, places[said.indices], said.indptr), shape=(n_users, len(kept))
    )
    return ThroughItems(kept, places, _weights(columns, ridge))


def _weights(profiles: Sparse, ridge: float) -> Floats:
    """B, (m, m), for profiles CSR (n_users, m): made where the one matrix lies that this takes."""
    m = profiles.shape[1]
    matrix = np.zeros((m, m))
    if not m:
        return matrix
    given = *_arrays(profiles), *_arrays(profiles.T.tocsr()), matrix
    in_parts(lambda start, stop: _gram(start, stop, *given), m, ROWS_A_PART)
    matrix[np.diag_indices(m)] += ridge
    # Lapack counts columns first: the lower triangle of its matrix is the upper one of ours.
    factor, failed = lapack.dpotrf(matrix.T, lower=True, overwrite_a=True)
    inverse, failed_too = lapack.dpotri(factor, lower=True, overwrite_c=True)
    if failed or failed_too:
        raise np.linalg.LinAlgError(
            "the learnt weights cannot be solved; a larger learnt_ridge helps"
        )
    _to_weights(inverse.T, np.diag(inverse).copy())
    return inverse.T


@dataclass(frozen=True)
class Preference:
    """What the films that a user rated say of every other film."""

    ratings: Sparse  # stars, CSR (n_users, n_items)
    worth: Callable[[Floats], Floats]  # of so many stars
    learnt: ThroughUsers | ThroughItems

    def profiles(self, users: Ints) -> Sparse:
        """What each rating of these users says for its film, CSR (b, n_items)."""
        rows = self.ratings[users]
        return with_data(rows, self.worth(rows.data))

    def score(self, users: Ints) -> Floats:
        """(b, n_items); about 0 to 1 times what the user would give."""
        return self.learnt.score(self.profiles(users))

    def at(self, users: Ints, pairs: Pairs, fadings: Sequence[Floats]) -> list[Floats]:
        """The same of some cells, (p,), for each way to weigh the ratings of these users, (their ratings,)."""
        rows = self.profiles(users)
        return [self.learnt.at(with_data(rows, rows.data * fading), pairs) for fading in fadings]

    def strongest(self, users: Ints, pairs: Pairs) -> Ints:
        """The film of the user's that adds most to each cell, (p,), NOBODY where none adds anything."""
        return self.learnt.strongest(self.profiles(users), pairs)


def fit_preference(ratings: Ratings, ridge: float) -> Preference:
    """Profiles of how much each rating says for its film: the stars above indifference, none below."""
    return _taste(ratings, partial(_above, max(ratings.scale[1], 1e-9)), ridge)


def fit_liking(ratings: Ratings, ridge: float) -> Preference:
    """Profiles of which films each user liked: 1 or 0."""
    return _taste(ratings, partial(_liked, LIKED_SHARE * ratings.scale[1]), ridge)


def _above(top: float, stars: Floats) -> Floats:
    return np.maximum(stars - INDIFFERENT * top, 0.0) * (COMMON_SCALE / top)


def _liked(enough: float, stars: Floats) -> Floats:
    return (stars >= enough).astype(np.float64)


def _taste(ratings: Ratings, worth: Callable[[Floats], Floats], ridge: float) -> Preference:
    return Preference(
        ratings.matrix,
        worth,
        interpolate(with_data(ratings.matrix, worth(ratings.matrix.data)), ridge),
    )


def _arrays(matrix: Sparse) -> tuple[Ints, Ints, Floats]:
    """starts, columns and values of a CSR matrix, of fixed types."""
    found = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32, copy=False), matrix.data
    return read_only(found[0]), read_only(found[1]), read_only(found[2])


@compiled(
    (types.int64, types.int64, _READ, _INTS, _COLUMNS, _FLOATS, _INTS, _INTS, types.float64[::1])
)
def _products(start, stop, through, starts, raters, values, rows, columns, products):  # type: ignore[no-untyped-def]
    """The row of one matrix times the column of the other, pair by pair."""
    for pair in range(start, stop):
        total, one, item = 0.0, through[rows[pair]], columns[pair]
        for rater in range(starts[item], starts[item + 1]):
            total += one[raters[rater]] * values[rater]
        products[pair] = total


@compiled((types.int64, types.int64, _INTS, _COLUMNS, _FLOATS, _PLACES, _INTS, _READ, _BLOCK))
def _project(start, stop, starts, columns, values, places, kept, weights, scores):  # type: ignore[no-untyped-def]
    total = np.empty(len(kept))
    for row in range(start, stop):
        total[:] = 0.0
        for rated in range(starts[row], starts[row + 1]):
            place = places[columns[rated]]
            if place >= 0 and values[rated] != 0:
                weight, line = values[rated], weights[place]
                for target in range(len(total)):
                    total[target] += weight * line[target]
        for target in range(len(kept)):
            scores[row, kept[target]] = total[target]


@compiled(
    (
        types.int64,
        types.int64,
        _INTS,
        _COLUMNS,
        _FLOATS,
        _PLACES,
        _INTS,
        _PLACES,
        _READ,
        types.float64[::1],
    )
)
def _project_some(start, stop, starts, columns, values, places, ends, targets, weights, found):  # type: ignore[no-untyped-def]
    for row in range(start, stop):
        for rated in range(starts[row], starts[row + 1]):
            place = places[columns[rated]]
            if place >= 0 and values[rated] != 0:
                weight, line = values[rated], weights[place]
                for pair in range(ends[row], ends[row + 1]):
                    if targets[pair] >= 0:
                        found[pair] += weight * line[targets[pair]]


@compiled((types.int64, types.int64, _INTS, _COLUMNS, _FLOATS, _INTS, _COLUMNS, _FLOATS, _BLOCK))
def _gram(start, stop, starts, columns, values, item_starts, users, item_values, gram):  # type: ignore[no-untyped-def]
    """The upper triangle of X'X, a row at a time: of each user only the films from this one on."""
    for item in range(start, stop):
        line = gram[item]
        for rater in range(item_starts[item], item_starts[item + 1]):
            weight, rated = item_values[rater], starts[users[rater] + 1] - 1
            while columns[rated] > item:
                line[columns[rated]] += weight * values[rated]
                rated -= 1
            line[item] += weight * weight


@compiled((types.float64[:, ::1], types.float64[::1]))
def _to_weights(inverse, diagonal):  # type: ignore[no-untyped-def]
    """-P / diag(P) of a symmetric P whose upper triangle is filled, 0 on the diagonal, in its place."""
    for row in range(len(diagonal)):
        inverse[row, row] = 0.0
        for column in range(row + 1, len(diagonal)):
            both = -inverse[row, column]
            inverse[row, column], inverse[column, row] = (
                both / diagonal[column],
                both / diagonal[row],
            )
