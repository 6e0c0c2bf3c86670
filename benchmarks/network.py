"""Ratings -> how the network does when a sample teaches its shared layer, beside one that all users taught.

    python benchmarks/network.py              # MovieLens ml-latest-small and the 1m shape: a minute

Both presets, on an inner split: the test part that quality.py reports on is never looked at. First comes the RMSE of
`bias`; then of the network with every weight trained, and with a sample of at most so many users and solved rows.
"""

import time

import numpy as np

from batch.models import neural
from batch.models.baseline import Baseline
from batch.models.networks import PerMovie
from batch.params import PRESETS, Neural
from batch.ranking.hold_out import hold_out
from batch.ratings import Floats, Pairs, Ratings
from quality import DATA, read
from shapes import SHAPES, in_memory

SEED = 20261123
EVERYONE = 10**9
"""More users than there are: all teach, and nothing is solved."""


def rmse(said: Floats, held: Ratings) -> float:
    """Stars; predictions, (n_pairs,), clipped to the scale."""
    return float(np.sqrt(np.mean((np.clip(said, *held.scale) - held.matrix.data) ** 2)))


def predicted(baseline: Baseline, model: PerMovie | None, held: Ratings) -> Floats:
    """What the model, or the baseline alone, says of the held-out ratings, (n_pairs,)."""
    users, pairs = held.user_of_rating(), Pairs.stored(held.matrix)
    if model is None:
        return baseline.at(np.arange(held.n_users), pairs)
    said = (model.trained["W2"][users] * model.hidden[pairs.columns]).sum(axis=1) + model.trained[
        "b2"
    ][users]
    return said + baseline.at(np.arange(held.n_users), pairs) if model.added else said


def fitted(train: Ratings, held: Ratings, params: Neural, learners: int) -> str:
    """RMSE and processor time of a fit that so many users teach."""
    neural.LEARNERS = learners
    began = time.process_time()
    model = neural.fit(train, params, SEED)
    taken = time.process_time() - began
    assert isinstance(model, PerMovie)  # noqa: S101  both presets are of that architecture
    return f"{rmse(predicted(model.baseline, model, held), held):.4f} in {taken:.1f} s"


def main() -> None:
    shipped = neural.LEARNERS
    for name, sample in (("ml-latest-small", 300), ("1m", shipped)):
        ratings = read(str(DATA)) if name == "ml-latest-small" else in_memory(SHAPES[name], SEED)
        ratings = ratings.keep(~hold_out(ratings, SEED))
        test = hold_out(ratings, SEED)
        train, held = ratings.keep(~test), ratings.keep(test)
        bias = rmse(predicted(neural.fit_baseline("bias", train), None, held), held)
        for preset, models in PRESETS.items():
            told = [fitted(train, held, models.neural, learners) for learners in (EVERYONE, sample)]
            print(
                f"{name}, {preset}: bias {bias:.4f}; all {told[0]}; a sample of {sample} {told[1]}",
                flush=True,
            )


if __name__ == "__main__":
    main()
