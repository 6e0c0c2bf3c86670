"""Ratings that are held out -> which order of users finds those who later liked a film.

    python benchmarks/audience.py [--data FOLDER] [--split own|next] [--least 10]

For every film that so many users liked in the held-out part, all users who had not rated it are put
into an order, and the share of the first fifty who liked it later is the precision. Orders: `score`
of the blend beside the user's own candidates, as `recbatch audience` has it; `place` of the film
among these; predicted `stars`; `level`, the score without the user's own mean; those with `most
ratings`; `any`. The order was chosen on one half of the films; the other half is what is reported.
"""

import argparse
import sys
from collections import defaultdict
from dataclasses import replace

import numpy as np
from scipy import sparse

from batch.config import Config
from batch.job.inputs import evaluation_inputs
from batch.models import PERSONAL
from batch.ranking.blend import Blend, table
from batch.ranking.blend_weights import Weights
from batch.ranking.ensemble import CandidateFeatures, Ensemble, assemble
from batch.ranking.evaluate import fit_all, learn_nightly
from batch.ratings import Bools, Floats, Ints, Pairs, Ratings
from quality_data import MOVIELENS, folds, read

N = 50
BLOCK = 64
"""Users scored at a time."""


def fitted(known: Ratings, config: Config) -> tuple[Ensemble, Weights]:
    """The models that a night would publish, and the blend's weights."""
    weights, epochs = learn_nightly(known, config.models, evaluation_inputs(known, config))
    if weights is None:
        sys.exit("too little to learn a blend from")
    models = fit_all(known, config.models, config.evaluation.seed, epochs=epochs)
    return assemble(known, models, weights), weights


def orders_of(block: CandidateFeatures, weights: Weights, asked: Pairs) -> dict[str, Floats]:
    """Name -> a number for each asked cell of a block of users, (p,), the highest first."""
    per_unit = weights.relevance / weights.list_spread  # (n_features,)
    candidates = table(block.of_candidates, weights.names) @ per_unit  # log-odds, less a constant
    level = table(block.of_held, weights.names) @ per_unit  # (p,)
    rows = block.candidates.rows
    counts = np.bincount(rows, minlength=len(block.users))
    means = np.bincount(rows, candidates, minlength=len(block.users)) / np.maximum(counts, 1)
    place = np.zeros(len(level))
    for row in range(len(block.users)):
        own = np.sort(candidates[rows == row])
        is_theirs = asked.rows == row
        place[is_theirs] = np.searchsorted(own, level[is_theirs]) - len(own)
    return {
        "score": level - means[asked.rows],
        "place": place,
        "stars": Blend(weights).stars(block.of_held, block.held_baseline, PERSONAL),
        "level": level,
    }


def ordered(ensemble: Ensemble, weights: Weights, films: Ints) -> dict[str, Floats]:
    """Name -> numbers of all users for these films, (n_users, n_films); -inf: not of the audience.

    Users without ratings, and those who have rated the film, are none.
    """
    known = ensemble.ratings
    counts = known.user_counts()
    is_asked = known.matrix[:, films].toarray() == 0
    is_asked[counts == 0] = False
    users, places = np.nonzero(is_asked)
    cells = sparse.csr_array((np.ones(len(users)), (users, films[places])), known.matrix.shape)
    asked = replace(known, matrix=cells, rated_at=None)
    place_of = np.zeros(known.n_items, dtype=np.int64)
    place_of[films] = np.arange(len(films))
    numbers: dict[str, Floats] = defaultdict(lambda: np.full(is_asked.shape, -np.inf))
    for block in ensemble.candidate_features(np.flatnonzero(counts), BLOCK, asked):
        pairs = Pairs.stored(cells[block.users])
        for name, values in orders_of(block, weights, pairs).items():
            numbers[name][block.users[pairs.rows], place_of[pairs.columns]] = values
    numbers["most ratings"] = np.where(is_asked, counts[:, None], -np.inf)
    numbers["any"] = np.where(is_asked, 0.0, -np.inf)
    return dict(numbers)


def precision(numbers: Floats, liked: Bools) -> Floats:
    """The share of the first N users who liked each film, (n_films,); ties at random."""
    ties = np.random.default_rng(0).random(numbers.shape)
    first = np.lexsort((ties, -numbers), axis=0)[:N]  # (N, n_films)
    return np.take_along_axis(liked, first, axis=0).mean(axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=str(MOVIELENS))
    parser.add_argument("--split", choices=("own", "next"), default="own")
    parser.add_argument("--least", type=int, default=10)
    given = parser.parse_args()
    config = Config()
    ratings = read(given.data)
    known, held = next(iter(folds(ratings, given.split, config.evaluation.seed)))
    liked_from = evaluation_inputs(known, config)["relevant_from"]
    liked = held.matrix.toarray() >= liked_from  # (n_users, n_items)
    liked[known.user_counts() == 0] = False
    films = np.flatnonzero(liked.sum(axis=0) >= given.least)
    numbers = ordered(*fitted(known, config), films)
    print(f"{len(films)} films, {known.n_users} users; precision of the first {N}")
    print("order         chosen on  reported")
    for name, of_films in numbers.items():
        found = precision(of_films, liked[:, films])
        print(f"{name:12}  {found[::2].mean():9.4f}  {found[1::2].mean():8.4f}")


if __name__ == "__main__":
    main()
