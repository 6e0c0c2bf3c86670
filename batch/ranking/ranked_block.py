"""One model's lists and predictions for a block of users."""

from dataclasses import dataclass

import numpy as np

from batch.models.evidence import Evidence, Ids
from batch.ratings import NOBODY, Floats, Ints, Texts


@dataclass(frozen=True)
class RankedBlock:
    """Lists of n for b users, and predictions for the p requested pairs.

    The last `spare` of the n films are stored, but shown only where others go.
    """

    listed: Ints  # (b, n) columns, best first, NOBODY after the end of a list
    score: Floats  # (b, n) what orders the list; nan after its end, here and below
    rating: Floats  # (b, n) stars
    support: Floats  # (b, n)
    predicted: Floats  # (p,) stars, nan without a prediction
    spare: int = 0
    evidence: Evidence | None = None  # of the films that are not spare, list by list

    def reasons(self, ids: Ids) -> Texts:
        """The stored form of each film's reason, (b, n); empty without evidence, or if spare."""
        if self.evidence is None:
            return np.zeros(self.listed.shape, dtype=np.str_)
        stored = np.array(self.evidence.stored(ids), dtype=np.str_)
        reasons = np.zeros(self.listed.shape, stored.dtype)
        reasons[without_spare(self.listed, self.spare) != NOBODY] = stored
        return reasons


def without_spare(listed: Ints, spare: int) -> Ints:
    """The same lists with NOBODY in the last `spare` places, (b, n)."""
    shown = listed.copy()
    shown[:, listed.shape[1] - spare :] = NOBODY
    return shown
