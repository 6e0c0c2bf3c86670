"""Profiles of users -> learnt weights between items, all neighbours weighed at once instead of one by one."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from batch.ratings import Floats, Ints, Ratings, Sparse, filled

INDIFFERENT = 0.3
"""Share of the scale's maximum up to which a rating says nothing for a film: 1.5 of 5 stars."""
LIKED = 0.8
"""Share of the scale's maximum from which a rating counts as liked: 4 of 5 stars."""
STARS = 5.0
"""Profiles are put on this scale, so that one ridge serves ratings to 5, 10 or 100."""
MAX_CELLS = 50_000_000
"""Cells of the largest dense array, 400 MB: above, only the most rated films are weighed."""


@dataclass(frozen=True)
class ThroughUsers:
    """x -> x B, with P = (X'X + ridge I)^-1 never made: the system is as large as there are users (Woodbury)."""

    profiles: Sparse  # X, CSR (n_users, n_items)
    solved: Floats  # (XX' + ridge I)^-1 X = X P, (n_users, n_items)
    diagonal: Floats  # of P, (n_items,)
    ridge: float

    def score(self, rows: Sparse) -> Floats:
        """Score every item for these profiles, CSR (b, n_items)."""
        own = rows.toarray()  # (b, n_items)
        shared = (rows @ self.profiles.T).toarray()  # (b, n_users), hardly a zero: a dense product is faster
        projected = (own - shared @ self.solved) / self.ridge  # x P
        return own - projected / self.diagonal


@dataclass(frozen=True)
class ThroughItems:
    """x -> x B over the films that are weighed; of the others nothing is said, which is 0."""

    kept: Ints  # (m,) columns
    weights: Floats  # B, (m, m), 0 on the diagonal

    def score(self, rows: Sparse) -> Floats:
        """Score every item for these profiles, CSR (b, n_items)."""
        scores = np.zeros(rows.shape)  # (b, n_items)
        scores[:, self.kept] = rows[:, self.kept] @ self.weights
        return scores


def interpolate(profiles: Sparse, ridge: float) -> ThroughUsers | ThroughItems:
    """min |X - X B|^2 + ridge |B|^2 with diag(B) = 0: B = I - P / diag(P), P = (X'X + ridge I)^-1 (Steck 2019, EASE).

    `profiles` is X, CSR (n_users, n_items). Solved on its smaller side.
    """
    n_users, n_items = profiles.shape
    if n_users <= n_items and n_users * n_items <= MAX_CELLS:
        gram = (profiles @ profiles.T).toarray() + ridge * np.eye(n_users)  # (n_users, n_users)
        solved = np.linalg.solve(gram, profiles.toarray())
        return ThroughUsers(profiles, solved, (1.0 - profiles.multiply(solved).sum(axis=0)) / ridge, ridge)
    most = int(np.sqrt(MAX_CELLS))
    rated = np.bincount(profiles.indices, minlength=n_items)
    kept = np.sort(np.lexsort((np.arange(n_items), -rated))[:most])  # ties by key
    columns = profiles[:, kept]
    inverse = np.linalg.inv((columns.T @ columns).toarray() + ridge * np.eye(len(kept)))  # (m, m)
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return ThroughItems(kept, weights)


@dataclass(frozen=True)
class Taste:
    """What the films that a user rated say of every other film."""

    profiles: Sparse  # CSR (n_users, n_items)
    learnt: ThroughUsers | ThroughItems

    def score(self, users: Ints, fading: Floats | None = None) -> Floats:
        """(b, n_items); about 0 to 1 times what the user would give. `fading` weighs each rating, (n_ratings,)."""
        if fading is None:
            return self.learnt.score(self.profiles[users])
        return self.learnt.score(filled(self.profiles, self.profiles.data * fading)[users])


def preferring(ratings: Ratings, ridge: float) -> Taste:
    """Profiles of how much each rating says for its film: the stars above indifference, none below."""
    top = max(ratings.scale[1], 1e-9)
    return _taste(ratings, np.maximum(ratings.matrix.data - INDIFFERENT * top, 0.0) * (STARS / top), ridge)


def liking(ratings: Ratings, ridge: float) -> Taste:
    """Profiles of which films each user liked: 1 or 0."""
    return _taste(ratings, (ratings.matrix.data >= LIKED * ratings.scale[1]).astype(np.float64), ridge)


def _taste(ratings: Ratings, values: Floats, ridge: float) -> Taste:
    profiles = sparse.csr_array(filled(ratings.matrix, values))
    return Taste(profiles, interpolate(profiles, ridge))
