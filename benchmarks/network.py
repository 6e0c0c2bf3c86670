"""Ratings -> the network with its shared layer trained on a sample of users, or on all.

    python benchmarks/network.py    # MovieLens ml-latest-small and the 1m shape: a minute

Both presets, on an inner split: the test part that quality.py reports on is not used. Prints
the RMSE of `bias`; then RMSE and processor time of the network with every weight trained, and
with a sample of users for the shared layer and the others' rows solved.
"""

import time

import numpy as np

from batch.models import neural
from batch.models.baseline import Baseline
from batch.models.networks import PerMovie
from batch.params import PRESETS, Neural
from batch.ranking.hold_out import hold_out_own
from batch.ratings import Floats, Pairs, Ratings
from quality_data import MOVIELENS, read
from shapes import SHAPES, in_memory

SEED = 20261123
EVERYONE = 10**9
"""A sample size of more users than there are: every weight is trained."""


def rmse(predicted: Floats, held: Ratings) -> float:
    """RMSE in stars of predictions, (n_pairs,), clipped to the scale."""
    errors = np.clip(predicted, *held.scale) - held.matrix.data
    return float(np.sqrt(np.mean(errors**2)))


def predict(baseline: Baseline, model: PerMovie | None, held: Ratings) -> Floats:
    """Predictions of the held-out ratings, (n_pairs,), by the model or the baseline alone."""
    users = held.user_of_rating()  # (n_pairs,)
    pairs = Pairs.stored(held.matrix)
    expected = baseline.at(np.arange(held.n_users), pairs)
    if model is None:
        return expected
    products = model.trained["W2"][users] * model.hidden[pairs.columns]
    output = products.sum(axis=1) + model.trained["b2"][users]
    return output + expected if model.added else output


def fit(train: Ratings, held: Ratings, params: Neural, learners: int) -> str:
    """RMSE and processor time of a fit whose shared layer is trained on so many users."""
    neural.LEARNERS = learners
    began = time.process_time()
    model = neural.fit(train, params, SEED)
    seconds = time.process_time() - began
    assert isinstance(model, PerMovie)  # noqa: S101  both presets have that architecture
    return f"{rmse(predict(model.baseline, model, held), held):.4f} in {seconds:.1f} s"


def main() -> None:
    for name, sample in ((MOVIELENS.name, 300), ("1m", neural.LEARNERS)):
        is_real = name == MOVIELENS.name
        ratings = read(str(MOVIELENS)) if is_real else in_memory(SHAPES[name], SEED)
        outer_train = ratings.keep(~hold_out_own(ratings, ratings.n_users, SEED).removed)
        test = hold_out_own(outer_train, outer_train.n_users, SEED).removed
        train = outer_train.keep(~test)
        held = outer_train.keep(test)
        bias = rmse(predict(neural.fit_baseline("bias", train), None, held), held)
        for preset, models in PRESETS.items():
            of_all = fit(train, held, models.neural, EVERYONE)
            of_sample = fit(train, held, models.neural, sample)
            print(
                f"{name}, {preset}: bias {bias:.4f}; all {of_all}; "
                f"a sample of {sample} {of_sample}",
                flush=True,
            )


if __name__ == "__main__":
    main()
