"""A table of ratings -> what the formulas give, cell by cell, in exact fractions, without matrices.

A slow second implementation to test the fast one against. A `Line` is the ratings of one
user (or film) by column; a grid is a list of rows, with `None` where there is no
prediction.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from batch.ranking.evaluate import Inputs
from batch.ratings import Pairs, Ratings

Number: TypeAlias = Fraction | float
Line: TypeAlias = dict[int, Number]
Grid: TypeAlias = list[list[float | None]]
Floats: TypeAlias = npt.NDArray[np.float64]

TIE = 10
"""Decimals at which similarities are compared: equal ones may differ in the last bits."""


def ratings_of(
    stars: Sequence[Sequence[float]] | Floats,
    *,
    genres: Floats | None = None,
    times: Sequence[Sequence[float]] | Floats | None = None,
    scale: tuple[float, float] = (1.0, 5.0),
) -> Ratings:
    """A table (n_users, n_items), nan where not rated, and times of the same shape -> `Ratings`."""
    table = np.array(stars, dtype=np.float64)  # (n_users, n_items)
    users, items = np.nonzero(~np.isnan(table))  # (n_ratings,) each, by user, then by item
    flags = np.zeros((table.shape[1], 0))  # (n_items, n_genres)
    if genres is not None:
        flags = np.asarray(genres, dtype=np.float64)
    rated_at = None
    if times is not None:
        rated_at = np.array(times, dtype=np.float64)[users, items]
    return Ratings(
        matrix=sparse.csr_array((table[users, items], (users, items)), shape=table.shape),
        user_ids=np.arange(table.shape[0]) + 100,
        movie_ids=np.arange(table.shape[1]) + 500,
        genres=flags,
        scale=scale,
        rated_at=rated_at,
        genre_ids=np.arange(flags.shape[1]) + 900,
    )


def inputs_of(
    *,
    seed: int = 0,
    n: int = 5,
    relevant_from: float = 4.0,
    block: int = 100,
    users: int = 1000,
    diversity: float = 0.0,
) -> Inputs:
    """How models are measured."""
    return {
        "seed": seed,
        "n": n,
        "relevant_from": relevant_from,
        "block": block,
        "users": users,
        "diversity": diversity,
    }


def random_stars(
    seed: int,
    n_users: int,
    n_items: int,
    values: Sequence[float],
    share: float,
    n_empty: int = 0,
) -> Floats:
    """Random ratings of a share of the cells, nan elsewhere, (n_users, n_items).

    `n_empty` users and as many films have no ratings.
    """
    random = np.random.default_rng(seed)
    popular = random.uniform(0.3, 1.7, n_items)  # (n_items,) so that rating counts differ
    rated = random.random((n_users, n_items)) < share * popular
    stars = np.where(rated, random.choice(values, (n_users, n_items)), np.nan)
    stars[random.permutation(n_users)[:n_empty]] = np.nan
    stars[:, random.permutation(n_items)[:n_empty]] = np.nan
    return stars


def every_cell(b: int, n_items: int) -> Pairs:
    """All cells of a block, row by row: their values can be reshaped to (b, n_items)."""
    return Pairs(np.repeat(np.arange(b), n_items), np.tile(np.arange(n_items), b))


def lines_of(ratings: Ratings) -> list[Line]:
    """Each user's ratings by column, as exact fractions."""
    lines: list[Line] = [{} for _ in range(ratings.n_users)]
    cells = ratings.matrix.tocoo()
    for user, item, stars in zip(cells.row, cells.col, cells.data, strict=True):
        lines[int(user)][int(item)] = Fraction(float(stars))
    return lines


def turned(lines: list[Line], n_items: int) -> list[Line]:
    """The same cells by film."""
    columns: list[Line] = [{} for _ in range(n_items)]
    for user, line in enumerate(lines):
        for item, value in line.items():
            columns[item][user] = value
    return columns


def expected(kind: str, lines: list[Line], n_items: int) -> list[list[Number]]:
    """b_ui of every cell.

    It is the user's mean, or mu + b_u + b_i after ten sweeps; mu for a user without
    ratings.
    """
    values = [value for line in lines for value in line.values()]
    mu = sum(values) / len(values)
    if kind == "user_mean":
        return [[sum(line.values()) / len(line) if line else mu] * n_items for line in lines]
    columns = turned(lines, n_items)
    b_user = [0.0] * len(lines)
    b_item = [0.0] * n_items
    for _ in range(10):
        for item, column in enumerate(columns):
            total = sum(float(r - mu) - b_user[user] for user, r in column.items())
            b_item[item] = total / (len(column) + 15)
        for user, line in enumerate(lines):
            total = sum(float(r - mu) - b_item[item] for item, r in line.items())
            b_user[user] = total / (len(line) + 10)
    return [[float(mu) + of_user + of_item for of_item in b_item] for of_user in b_user]


def deviations(lines: list[Line], baseline: list[list[Number]]) -> list[Line]:
    """r_ui - b_ui of every rated cell."""
    return [
        {item: r - baseline[user][item] for item, r in line.items()}
        for user, line in enumerate(lines)
    ]


def similarity(kind: str, a: Line, b: Line, a_off: Line, b_off: Line) -> float:
    """Similarity of two lines; `a_off` and `b_off` are their deviations from the baseline."""
    common = [place for place in a if place in b]
    if not common:
        return 0.0
    if kind == "adjusted_cosine":
        a = a_off
        b = b_off
    if kind == "pearson":
        a = _centred(a, common)
        b = _centred(b, common)
    product = sum(a[place] * b[place] for place in common)
    a_square = sum(a[place] ** 2 for place in (a if kind == "full_cosine" else common))
    b_square = sum(b[place] ** 2 for place in (b if kind == "full_cosine" else common))
    if a_square == 0 or b_square == 0:
        return 0.0
    return float(product) / (math.sqrt(a_square) * math.sqrt(b_square))


def _centred(line: Line, common: list[int]) -> Line:
    mean = sum(line[place] for place in common) / len(common)
    return {place: line[place] - mean for place in common}


def similarities(
    kind: str, lines: list[Line], off: list[Line]
) -> tuple[list[list[float]], list[list[int]]]:
    """Similarity and overlap of every pair of lines; 0 for a line with itself."""
    n_lines = range(len(lines))
    sim = [[0.0 for _ in n_lines] for _ in n_lines]
    for u, v in combinations(n_lines, 2):
        sim[u][v] = sim[v][u] = similarity(kind, lines[u], lines[v], off[u], off[v])
    overlap = [[len(lines[u].keys() & lines[v].keys()) for v in n_lines] for u in n_lines]
    return sim, overlap


def neighbour_weights(
    sim: list[list[float]], overlap: list[list[int]], beta: float, k: int | str
) -> list[list[float]]:
    """s = sim n / (n + beta); 0 for those not among the k highest above 0, ties by key."""
    s = [
        [value * n / (n + beta) if n else 0.0 for value, n in zip(*pair, strict=True)]
        for pair in zip(sim, overlap, strict=True)
    ]
    if not isinstance(k, int):
        return s
    chosen = []
    for row in s:
        positive = [v for v, value in enumerate(row) if value > 0]
        nearest = sorted(positive, key=lambda v: (-round(row[v], TIE), v))[:k]
        chosen.append([value if v in nearest else 0.0 for v, value in enumerate(row)])
    return chosen


def cell(
    b: Number, neighbours: list[tuple[float, float]], shrinkage: float
) -> tuple[float | None, float]:
    """b + sum s d / (sum |s| + lambda), and sum |s|, over the pairs (s, d) of neighbours."""
    support = sum(abs(s) for s, _ in neighbours)
    if support == 0:
        return None, 0.0
    return float(b) + sum(s * d for s, d in neighbours) / (support + shrinkage), support


def user_user(
    off: list[Line], baseline: list[list[Number]], s: list[list[float]], shrinkage: float
) -> tuple[Grid, list[list[float]]]:
    """Rating and support of every cell, from the other users who rated the film."""
    offset = [{item: float(value) for item, value in line.items()} for line in off]
    raters = turned(offset, len(baseline[0]))
    ratings = []
    supports = []
    for u, b in enumerate(baseline):
        cells = []
        for i, expected_stars in enumerate(b):
            neighbours = [(s[u][v], d) for v, d in raters[i].items() if v != u]
            cells.append(cell(expected_stars, neighbours, shrinkage))
        ratings.append([rating for rating, _ in cells])
        supports.append([support for _, support in cells])
    return ratings, supports


def item_item(
    off: list[Line], baseline: list[list[Number]], s: list[list[float]], shrinkage: float
) -> tuple[Grid, list[list[float]]]:
    """Rating and support of every cell, from the user's other films; s[i] is of target i."""
    offset = [{item: float(value) for item, value in line.items()} for line in off]
    ratings = []
    supports = []
    for u, b in enumerate(baseline):
        cells = []
        for i, expected_stars in enumerate(b):
            neighbours = [(s[i][j], d) for j, d in offset[u].items() if j != i]
            cells.append(cell(expected_stars, neighbours, shrinkage))
        ratings.append([rating for rating, _ in cells])
        supports.append([support for _, support in cells])
    return ratings, supports


def best(
    score: Sequence[float | None], seen: Sequence[int] | Line, counts: Sequence[int], n: int
) -> list[int]:
    """At most n unseen columns: by score rounded to 1e-6, then by rating count, then by key."""
    candidates = [
        i
        for i, value in enumerate(score)
        if value is not None and not math.isnan(value) and i not in seen
    ]
    return sorted(candidates, key=lambda i: (-round(score[i] or 0.0, 6), -counts[i], i))[:n]


def filled_up(columns: list[int], n: int) -> list[int]:
    """A list of length n, with -1 where it has ended."""
    return columns + [-1] * (n - len(columns))


def measured(
    predictions: Grid,
    fallback: list[list[Number]],
    relevance: Grid,
    train: list[Line],
    held: list[Line],
    *,
    scale: tuple[float, float],
    n: int,
    relevant_from: float,
    genres: list[list[float]],
    users: Sequence[int] | None = None,
) -> dict[str, float]:
    """The metrics of one model, user by user and film by film; of all users, or of these.

    `predictions` are ratings, with those of `fallback` where there is none.
    """
    judged = list(range(len(held)) if users is None else users)
    counts = [len(column) for column in turned(train, len(fallback[0]))]
    lists = [best(relevance[user], train[user], counts, n) for user in judged]
    metrics = _rating_metrics(predictions, fallback, held, judged, scale)
    metrics |= _list_metrics(lists, counts, len(train), n)
    metrics |= _hit_metrics(lists, judged, train, held, n, relevant_from)
    distances = [_mean_distance(listed, genres) for listed in lists]
    diverse = [distance for distance in distances if distance is not None]
    if diverse:
        metrics[f"diversity@{n}"] = sum(diverse) / len(diverse)
    return metrics


def _rating_metrics(
    predictions: Grid,
    fallback: list[list[Number]],
    held: list[Line],
    judged: list[int],
    scale: tuple[float, float],
) -> dict[str, float]:
    """Errors of the predicted ratings, clipped to the scale."""
    errors = []
    n_fallback = 0
    for user in judged:
        for item, truth in held[user].items():
            prediction = predictions[user][item]
            if prediction is None:
                n_fallback += 1
                prediction = float(fallback[user][item])
            errors.append(min(max(prediction, scale[0]), scale[1]) - float(truth))
    if len(errors) == n_fallback:
        return {}
    return {
        "raters": sum(bool(line) for line in held),
        "rmse": math.sqrt(sum(error**2 for error in errors) / len(errors)),
        "mae": sum(abs(error) for error in errors) / len(errors),
        "fallback_share": n_fallback / len(errors),
    }


def _list_metrics(
    lists: list[list[int]], counts: list[int], n_users: int, n: int
) -> dict[str, float]:
    """Which films are listed, and how popular they are."""
    n_items = len(counts)
    listed = [item for columns in lists for item in columns]
    metrics = {f"coverage@{n}": len(set(listed)) / n_items}
    if not listed:
        return metrics
    surprise = [-math.log2(max(counts[i], 1) / n_users) for i in listed]
    metrics[f"novelty@{n}"] = sum(surprise) / len(listed)
    mean_popularity = sum(count * count for count in counts) / sum(counts)  # of rated films
    listed_popularity = sum(counts[i] for i in listed) / len(listed)
    metrics[f"popularity_lift@{n}"] = listed_popularity / mean_popularity
    # The Gini coefficient as half the mean difference.
    times_listed = [listed.count(item) for item in range(n_items)]
    differences = sum(abs(a - b) for a in times_listed for b in times_listed)
    metrics[f"gini@{n}"] = differences / (2 * n_items * len(listed))
    return metrics


def _mean_distance(listed: list[int], genres: list[list[float]]) -> float | None:
    """1 - cosine of genres, the mean over pairs of films; None where no two have genres."""
    distances = []
    for i in listed:
        for j in listed:
            if i != j and sum(genres[i]) and sum(genres[j]):
                product = sum(a * b for a, b in zip(genres[i], genres[j], strict=True))
                distances.append(1 - product / math.sqrt(sum(genres[i]) * sum(genres[j])))
    return sum(distances) / len(distances) if distances else None


def _hit_metrics(
    lists: list[list[int]],
    judged: list[int],
    train: list[Line],
    held: list[Line],
    n: int,
    relevant_from: float,
) -> dict[str, float]:
    """How many relevant films are listed, and how high."""
    values: dict[str, list[float]] = {}
    activity = []
    for user, listed in zip(judged, lists, strict=True):
        relevant = {item for item, truth in held[user].items() if truth >= relevant_from}
        if not relevant:
            continue
        activity.append(len(train[user]))
        hits = [place for place, item in enumerate(listed) if item in relevant]
        most = min(n, len(relevant))
        gain = sum(1 / math.log2(place + 2) for place in hits)
        ideal_gain = sum(1 / math.log2(place + 2) for place in range(most))
        precisions = [sum(hit <= place for hit in hits) / (place + 1) for place in hits]
        of_user = {
            "precision": len(hits) / n,
            "recall": len(hits) / len(relevant),
            "ndcg": gain / ideal_gain,
            "map": sum(precisions) / most,
            "hit_rate": 1.0 if hits else 0.0,
        }
        for name, value in of_user.items():
            values.setdefault(name, []).append(value)
    metrics: dict[str, float] = {"users": len(activity)}
    if not activity:
        return metrics
    for name, of_users in values.items():
        metrics[f"{name}@{n}"] = sum(of_users) / len(of_users)
    by_activity = sorted(range(len(activity)), key=lambda row: activity[row])
    precision = [values["precision"][row] for row in by_activity]
    quarter = max(1, len(precision) // 4)
    metrics[f"precision_light@{n}"] = sum(precision[:quarter]) / quarter
    metrics[f"precision_heavy@{n}"] = sum(precision[-quarter:]) / quarter
    return metrics
