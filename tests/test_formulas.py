"""The neighbourhood models and the baseline against slow implementations and scikit-surprise."""

from functools import cache
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from surprise import BaselineOnly, Dataset, KNNBaseline, KNNWithMeans, Reader

from batch.models import Model, item_item, user_user
from batch.models.baseline import fit_baseline
from batch.models.similarity import profiles, sparse_similarities
from batch.params import ItemNeighbourhood
from batch.ranking.rank import best_unseen, tie_order
from batch.ratings import Ratings, blocks
from reference import (
    Floats,
    Grid,
    Line,
    Number,
    best,
    deviations,
    expected,
    filled_up,
    lines_of,
    neighbour_weights,
    random_stars,
    ratings_of,
    similarities,
    turned,
)
from reference import item_item as slow_item_item
from reference import user_user as slow_user_user

NAN = np.nan
HALVES = [0.5 * step for step in range(1, 11)]
WHOLE = [1, 2, 3, 4, 5]
N = 5

DATA = {
    "halves": ratings_of(random_stars(0, 12, 15, HALVES, 0.4)),
    "whole": ratings_of(random_stars(1, 25, 40, WHOLE, 0.2, n_empty=2)),
    "sparse": ratings_of(random_stars(25, 40, 60, HALVES, 0.12)),
    # many equal similarities, and users who rate every film alike
    "ties": ratings_of(random_stars(3, 30, 20, [4, 5], 0.3, n_empty=1)),
    # many means that are no exact float
    "thirds": ratings_of(random_stars(3, 20, 30, [1, 2, 3], 0.15)),
    # 0 stars is a rating too
    "zeros": ratings_of(random_stars(4, 16, 15, [0, 1, 2, 3], 0.4), scale=(0.0, 3.0)),
}
MODELS: dict[str, ModuleType] = {"user_user": user_user, "item_item": item_item}
SIMILARITIES = ["cosine", "adjusted_cosine", "pearson", "full_cosine"]

# overlap_shrinkage, support_shrinkage, neighbours, support_weight
VARIANTS = {
    "plain": (0, 0, "all", 0),
    "nearest": (0, 0, 1, 0),
    "three": (0, 0, 3, 0),
    "shrunk": (20, 1, "all", 0.5),
    "few-shrunk": (5, 0.5, 3, 0),
    "k-above-all": (2.5, 0, 1000, 0),
}


def params_of(similarity: str, baseline: str, variant: str = "plain") -> ItemNeighbourhood:
    beta, shrinkage, k, weight = VARIANTS[variant]
    return ItemNeighbourhood.model_validate(
        {
            "baseline": baseline,
            "similarity": similarity,
            "overlap_shrinkage": beta,
            "support_shrinkage": shrinkage,
            "neighbours": k,
            "support_weight": weight,
            "learnt_ridge": 0,
        }
    )


def array(grid: Grid | list[list[Number]] | list[list[float]]) -> Floats:
    """Rows of numbers as an array, nan for None, (n_users, n_items)."""
    return np.array([[NAN if value is None else float(value) for value in row] for row in grid])


@cache
def table(data: str, baseline: str) -> tuple[list[Line], list[list[Number]], list[Line]]:
    """Ratings, baseline and deviations by user."""
    lines = lines_of(DATA[data])
    b = expected(baseline, lines, DATA[data].n_items)
    return lines, b, deviations(lines, b)


@cache
def slow_similarities(
    data: str, model: str, similarity: str, baseline: str
) -> tuple[list[list[float]], list[list[int]]]:
    """Similarity and overlap of the users, or of the films."""
    lines, _, off = table(data, baseline)
    if model == "item_item":
        n_items = DATA[data].n_items
        lines = turned(lines, n_items)
        off = turned(off, n_items)
    return similarities(similarity, lines, off)


def all_scores(model: Model, ratings: Ratings) -> tuple[Floats, Floats, Floats]:
    """Rating, support and relevance of every cell, each (n_users, n_items)."""
    scores = model.score(np.arange(ratings.n_users))
    return scores.rating, scores.support, scores.relevance


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("baseline", ["user_mean", "bias"])
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("data", DATA)
def test_every_cell_and_every_list(
    data: str, name: str, similarity: str, baseline: str, variant: str
) -> None:
    """Ratings, supports, missing predictions and top fives are those of the formula per cell."""
    ratings = DATA[data]
    lines, b, off = table(data, baseline)
    beta, shrinkage, k, weight = VARIANTS[variant]
    sim, overlap = slow_similarities(data, name, similarity, baseline)
    s = neighbour_weights(sim, overlap, beta, k)
    slow_model = slow_user_user if name == "user_user" else slow_item_item
    slow_rating, slow_support = map(array, slow_model(off, b, s, shrinkage))

    model = MODELS[name].fit(ratings, params_of(similarity, baseline, variant), 0)
    rating, support, relevance = all_scores(model, ratings)
    assert np.isnan(rating).tolist() == np.isnan(slow_rating).tolist()
    np.testing.assert_allclose(support, slow_support, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(rating, slow_rating, rtol=1e-9, atol=1e-9)

    counts = [len(column) for column in turned(lines, ratings.n_items)]
    slow_relevance = slow_rating + weight * np.log(1 + slow_support)
    slow_lists = [
        filled_up(best(slow_relevance[user], lines[user], counts, N), N)
        for user in range(ratings.n_users)
    ]
    lists = best_unseen(relevance, ratings.matrix, tie_order(ratings.item_counts()), N)
    assert lists.tolist() == slow_lists


@pytest.mark.parametrize("baseline", ["user_mean", "bias"])
@pytest.mark.parametrize("data", DATA)
def test_baseline_cells(data: str, baseline: str) -> None:
    """The baseline of every cell is the user's mean, or mu + b_u + b_i after ten sweeps."""
    ratings = DATA[data]
    cells = fit_baseline(baseline, ratings).rows(np.arange(ratings.n_users))
    slow = array(table(data, baseline)[1])
    np.testing.assert_allclose(cells, slow, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("neighbours", ["all", 3])
def test_similarities(neighbours: int | str) -> None:
    """Similarities between all rows are those of the formula pair by pair."""
    ratings = DATA["whole"]
    lines, _, off = table("whole", "bias")
    changed = {"neighbours": neighbours, "overlap_shrinkage": 2}
    params = params_of("adjusted_cosine", "bias").model_copy(update=changed)
    compared = fit_baseline("bias", ratings).deviations(ratings)
    fast = sparse_similarities(profiles(compared, compared.T.tocsr(), params))
    sim, overlap = similarities("adjusted_cosine", lines, off)
    slow = neighbour_weights(sim, overlap, 2, neighbours)  # (n_users, n_users)
    np.testing.assert_allclose(fast.toarray(), slow, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("neighbours", ["all", 3])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("block", [1, 7])
def test_scores_in_blocks(block: int, name: str, neighbours: int | str) -> None:
    """Scores are the same bytes for any block size."""
    ratings = DATA["whole"]
    changed = {"neighbours": neighbours, "overlap_shrinkage": 2}
    params = params_of("pearson", "bias").model_copy(update=changed)
    model = MODELS[name].fit(ratings, params, 0)
    in_blocks = [model.score(rows).rating for rows in blocks(ratings.n_users, block)]
    at_once = model.score(np.arange(ratings.n_users)).rating
    assert np.concatenate(in_blocks).tobytes() == at_once.tobytes()


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_single_precision(similarity: str, variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums in float32, for large data, are those in float64 to 1e-5, nan in the same cells."""
    ratings = DATA["whole"]
    params = params_of(similarity, "bias", variant)
    double = user_user.fit(ratings, params, 0)
    monkeypatch.setattr(user_user, "SINGLE_FROM", 0)
    single = user_user.fit(ratings, params, 0)
    for model, dtype in ((double, np.float64), (single, np.float32)):
        assert model.deviations.cells.values.dtype == dtype  # noqa: PD011  a field of Cells
    pairs = zip(all_scores(single, ratings), all_scores(double, ratings), strict=True)
    for in_single, in_double in pairs:
        np.testing.assert_allclose(in_single, in_double, rtol=1e-5, atol=1e-5)


def surprise_set(ratings: Ratings) -> Dataset:
    """The same ratings for Surprise; raw ids are row and column numbers."""
    cells = ratings.matrix.tocoo()
    frame = pd.DataFrame({"user": cells.row, "item": cells.col, "stars": cells.data})
    return Dataset.load_from_df(frame, Reader(rating_scale=ratings.scale)).build_full_trainset()


# Surprise differs from our formulas in four places, none of which matters to the cells
# compared below:
# - It clips to the scale; this is switched off here.
# - It leaves out users and films without ratings, and predicts the mean or the baseline
#   where there is no neighbour; we predict nothing.
# - It drops similarities that are not above 0; cosines of stars always are.
# - It counts a user's own rating among the neighbours', with similarity 1, so that only
#   unrated cells can be compared.
ALS = {"method": "als", "n_epochs": 10, "reg_i": 15, "reg_u": 10}


def surprise_bias(*, user_based: bool) -> KNNBaseline:
    sim_options = {"name": "cosine", "user_based": user_based}
    return KNNBaseline(k=1000, min_k=1, sim_options=sim_options, bsl_options=ALS, verbose=False)


def surprise_means() -> KNNWithMeans:
    sim_options = {"name": "cosine", "user_based": True}
    return KNNWithMeans(k=1000, min_k=1, sim_options=sim_options, verbose=False)


SURPRISE = {
    "user_user, user_mean": surprise_means,
    "user_user, bias": lambda: surprise_bias(user_based=True),
    "item_item, bias": lambda: surprise_bias(user_based=False),
}


@pytest.mark.parametrize("oracle", SURPRISE)
@pytest.mark.parametrize("data", ["halves", "whole", "sparse", "ties"])
def test_surprise_agrees(data: str, oracle: str) -> None:
    """Unrated films with neighbours get the same predicted rating from scikit-surprise."""
    ratings = DATA[data]
    name, baseline = oracle.split(", ")
    model = MODELS[name].fit(ratings, params_of("cosine", baseline), 0)
    rating, _, _ = all_scores(model, ratings)
    theirs = SURPRISE[oracle]().fit(surprise_set(ratings))
    rated = lines_of(ratings)
    predicted = np.argwhere(~np.isnan(rating)).tolist()
    unrated = [(u, i) for u, i in predicted if i not in rated[u]]
    assert len(unrated) > 50
    ours = [rating[cell] for cell in unrated]
    estimates = [theirs.predict(u, i, clip=False).est for u, i in unrated]
    np.testing.assert_allclose(ours, estimates, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("data", ["halves", "whole", "sparse", "ties"])
def test_surprise_agrees_on_the_bias(data: str) -> None:
    """The `bias` baseline is scikit-surprise's ALS baseline of the same sweeps and shrinkage."""
    ratings = DATA[data]
    baseline = fit_baseline("bias", ratings)
    theirs = BaselineOnly(bsl_options=ALS, verbose=False).fit(surprise_set(ratings))
    rated = [(u, i) for u, line in enumerate(lines_of(ratings)) for i in line]
    ours = [baseline.rows(np.array([u]))[0, i] for u, i in rated]
    estimates = [theirs.predict(u, i, clip=False).est for u, i in rated]
    np.testing.assert_allclose(ours, estimates, rtol=1e-9)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_ties_between_neighbours_go_to_the_smaller_key(k: int) -> None:
    """Of equally similar users, or films, those with the smallest keys are kept."""
    # User 0 is equally similar to users 1..4; each of them shifts film 2 by another amount.
    stars = [[4, 4, NAN, NAN], [2, 2, 5, 1], [2, 2, 4, 1], [2, 2, 3, 1], [2, 2, 2, 1]]
    params = params_of("cosine", "user_mean").model_copy(update={"neighbours": k})
    ratings = ratings_of(stars)
    rating, support, _ = all_scores(user_user.fit(ratings, params, 0), ratings)
    assert support[0, 2] == pytest.approx(k)
    assert rating[0, 2] == pytest.approx(4 + np.mean([5 - 2.5, 4 - 2.25, 3 - 2, 2 - 1.75][:k]))

    # Film 0 is equally similar to films 1..4, which user 0 rated differently.
    films = ratings_of([[NAN, 5, 4, 3, 1], [2, 2, 2, 2, 2]])
    rating, support, _ = all_scores(item_item.fit(films, params, 0), films)
    assert support[0, 0] == pytest.approx(k)
    assert rating[0, 0] == pytest.approx(3.25 + np.mean([1.75, 0.75, -0.25][:k]))


@pytest.mark.parametrize("baseline", ["user_mean", "bias"])
@pytest.mark.parametrize("similarity", ["adjusted_cosine", "pearson"])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("stars", [0.1, 3.3, 3.7, 4.0])
def test_constant_ratings_give_no_prediction(
    name: str, similarity: str, baseline: str, stars: float
) -> None:
    """Where every deviation is 0 no similarity comes out of rounding noise, on any scale."""
    random = np.random.default_rng(5)
    rated = random.random((12, 9)) < 0.6
    ratings = ratings_of(np.where(rated, stars, NAN), scale=(0.1, 5.0))
    model = MODELS[name].fit(ratings, params_of(similarity, baseline), 0)
    rating, support, _ = all_scores(model, ratings)
    assert np.isnan(rating).all()
    assert (support == 0).all()


@pytest.mark.parametrize("neighbours", ["all", 2])
@pytest.mark.parametrize("similarity", ["adjusted_cosine", "pearson"])
@pytest.mark.parametrize("step", [0.1, 0.7, 1.0])
def test_unrelated_users_are_no_neighbours(
    similarity: str, neighbours: int | str, step: float
) -> None:
    """Users whose ratings are exactly uncorrelated have similarity 0, on any scale."""
    # On films 0..2 the users are (-1, 0, 1) and (1, -2, 1) steps from their means: the
    # products add up to 0.
    stars = np.array([[2, 3, 4, NAN, 3], [4, 1, 4, 3, NAN]]) * step  # (2, 5)
    params = params_of(similarity, "user_mean").model_copy(update={"neighbours": neighbours})
    ratings = ratings_of(stars, scale=(step, 9 * step))
    rating, support, _ = all_scores(user_user.fit(ratings, params, 0), ratings)
    assert support.tolist() == np.zeros((2, 5)).tolist()
    assert np.isnan(rating).all()
