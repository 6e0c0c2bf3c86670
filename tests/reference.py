"""A rating table -> what the formulas say of it: one cell at a time, in exact fractions, without a matrix product.

A second implementation to hold the fast one against. It is slow on purpose: `Line` is one user's (or film's) ratings
by column, a grid is a list of rows, and `None` is what cannot be said.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from batch.ratings import Pairs, Ratings

Number: TypeAlias = Fraction | float
Line: TypeAlias = dict[int, Number]
Grid: TypeAlias = list[list[float | None]]
Floats: TypeAlias = npt.NDArray[np.float64]

TIE = 10
"""Decimals at which similarities are compared: mathematically equal ones may differ in the last bits."""


def ratings_of(
    stars: Sequence[Sequence[float]] | Floats,
    *,
    genres: Floats | None = None,
    times: Sequence[Sequence[float]] | Floats | None = None,
    scale: tuple[float, float] = (1.0, 5.0),
) -> Ratings:
    """A table (n_users, n_items) with nan for "not rated", and times of the same shape -> `Ratings`."""
    table = np.array(stars, dtype=np.float64)  # (n_users, n_items)
    users, items = np.nonzero(~np.isnan(table))  # (n_ratings,) each, by user, then by item
    flags = (
        np.zeros((table.shape[1], 0)) if genres is None else np.asarray(genres, dtype=np.float64)
    )
    matrix = sparse.csr_array((table[users, items], (users, items)), shape=table.shape)
    return Ratings(
        matrix=matrix,
        user_ids=np.arange(table.shape[0]) + 100,
        movie_ids=np.arange(table.shape[1]) + 500,
        genres=flags,
        scale=scale,
        rated_at=None if times is None else np.array(times, dtype=np.float64)[users, items],
        genre_ids=np.arange(flags.shape[1]) + 900,
    )


def random_stars(
    seed: int, n_users: int, n_items: int, values: Sequence[float], share: float, n_empty: int = 0
) -> Floats:
    """Random ratings of a share of the cells, nan elsewhere, with `n_empty` users and films nobody hears of."""
    random = np.random.default_rng(seed)
    popular = random.uniform(0.3, 1.7, n_items)  # (n_items,) so that rating counts differ
    rated = random.random((n_users, n_items)) < share * popular
    stars = np.where(rated, random.choice(values, (n_users, n_items)), np.nan)  # (n_users, n_items)
    stars[random.permutation(n_users)[:n_empty]] = np.nan
    stars[:, random.permutation(n_items)[:n_empty]] = np.nan
    return stars


def every_cell(b: int, n_items: int) -> Pairs:
    """All cells of a block, row by row, so that what is said of them can be reshaped to (b, n_items)."""
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
    """b_ui of every cell: the user's mean, or mu + b_u + b_i after ten sweeps; mu where a user has no ratings."""
    everything = [value for line in lines for value in line.values()]
    mu = sum(everything) / len(everything)
    if kind == "user_mean":
        return [[sum(line.values()) / len(line) if line else mu] * n_items for line in lines]
    columns = turned(lines, n_items)
    b_user, b_item = [0.0] * len(lines), [0.0] * n_items
    for _ in range(10):
        for item, column in enumerate(columns):
            b_item[item] = sum(float(r - mu) - b_user[user] for user, r in column.items()) / (
                len(column) + 15
            )
        for user, line in enumerate(lines):
            b_user[user] = sum(float(r - mu) - b_item[item] for item, r in line.items()) / (
                len(line) + 10
            )
    return [[float(mu) + of_user + of_item for of_item in b_item] for of_user in b_user]


def deviations(lines: list[Line], baseline: list[list[Number]]) -> list[Line]:
    """r_ui - b_ui of every rated cell."""
    return [
        {item: r - baseline[user][item] for item, r in line.items()}
        for user, line in enumerate(lines)
    ]


def similarity(kind: str, a: Line, b: Line, a_off: Line, b_off: Line) -> float:
    """How alike two lines are; `a_off` and `b_off` hold their deviations from the baseline."""
    common = [place for place in a if place in b]
    if not common:
        return 0.0
    if kind == "adjusted_cosine":
        a, b = a_off, b_off
    if kind == "pearson":
        a_mean, b_mean = (sum(line[place] for place in common) / len(common) for line in (a, b))
        a, b = {p: a[p] - a_mean for p in common}, {p: b[p] - b_mean for p in common}
    product = sum(a[place] * b[place] for place in common)
    a_square = sum(a[place] ** 2 for place in (a if kind == "full_cosine" else common))
    b_square = sum(b[place] ** 2 for place in (b if kind == "full_cosine" else common))
    if a_square == 0 or b_square == 0:
        return 0.0
    return float(product) / (math.sqrt(a_square) * math.sqrt(b_square))


def similarities(
    kind: str, lines: list[Line], off: list[Line]
) -> tuple[list[list[float]], list[list[int]]]:
    """sim and overlap of every pair of lines; nobody is compared with themselves."""
    places = range(len(lines))
    sim = [
        [0.0 if u == v else similarity(kind, lines[u], lines[v], off[u], off[v]) for v in places]
        for u in places
    ]
    overlap = [[len(lines[u].keys() & lines[v].keys()) for v in places] for u in places]
    return sim, overlap


def user_weighted_sums(
    sim: list[list[float]], overlap: list[list[int]], beta: float, k: int | str
) -> list[list[float]]:
    """s = sim n / (n + beta), and 0 for whoever is not among the k highest above 0, ties by key."""
    s = [
        [value * n / (n + beta) if n else 0.0 for value, n in zip(*pair, strict=True)]
        for pair in zip(sim, overlap, strict=True)
    ]
    if not isinstance(k, int):
        return s
    chosen = []
    for row in s:
        by_rank = sorted(
            (v for v in range(len(row)) if row[v] > 0), key=lambda v: (-round(row[v], TIE), v)
        )
        chosen.append([value if v in by_rank[:k] else 0.0 for v, value in enumerate(row)])
    return chosen


def cell(
    b: Number, voices: list[tuple[float, float]], damping: float
) -> tuple[float | None, float]:
    """b + sum s d / (sum |s| + lambda) and sum |s|, of the pairs (s, d) that speak."""
    support = sum(abs(s) for s, _ in voices)
    if support == 0:
        return None, 0.0
    return float(b) + sum(s * d for s, d in voices) / (support + damping), support


def user_user(
    off: list[Line], baseline: list[list[Number]], s: list[list[float]], damping: float
) -> tuple[Grid, list[list[float]]]:
    """Rating and support of every cell, from the other users who rated the film."""
    n_users, n_items = len(off), len(baseline[0])
    offset = [{item: float(value) for item, value in line.items()} for line in off]
    cells = [
        [
            cell(
                baseline[u][i],
                [(s[u][v], offset[v][i]) for v in range(n_users) if v != u and i in offset[v]],
                damping,
            )
            for i in range(n_items)
        ]
        for u in range(n_users)
    ]
    return [[rating for rating, _ in row] for row in cells], [
        [support for _, support in row] for row in cells
    ]


def item_item(
    off: list[Line], baseline: list[list[Number]], s: list[list[float]], damping: float
) -> tuple[Grid, list[list[float]]]:
    """Rating and support of every cell, from the other films of the user; `s[i]` are the neighbours of target i."""
    n_users, n_items = len(off), len(baseline[0])
    offset = [{item: float(value) for item, value in line.items()} for line in off]
    cells = [
        [
            cell(baseline[u][i], [(s[i][j], d) for j, d in offset[u].items() if j != i], damping)
            for i in range(n_items)
        ]
        for u in range(n_users)
    ]
    return [[rating for rating, _ in row] for row in cells], [
        [support for _, support in row] for row in cells
    ]


def best(
    score: Sequence[float | None], seen: Sequence[int] | Line, counts: Sequence[int], n: int
) -> list[int]:
    """At most n unseen columns: by score rounded to 1e-6, then by rating count, then by key."""
    able = [
        i
        for i, value in enumerate(score)
        if value is not None and not math.isnan(value) and i not in seen
    ]
    return sorted(able, key=lambda i: (-round(score[i] or 0.0, 6), -counts[i], i))[:n]


def filled_up(columns: list[int], n: int) -> list[int]:
    """A list of n, with -1 where it has ended."""
    return columns + [-1] * (n - len(columns))


def measured(
    said: Grid,
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
    """The metrics of one model from its predictions, user by user and film by film: of all users, or of these."""
    n_items = len(fallback[0])
    counts = [len(column) for column in turned(train, n_items)]
    errors, silent, everybody = [], 0, []
    precision, recall, ndcg, average_precision, hit = [], [], [], [], []
    activity, apart = [], []
    for user in range(len(held)) if users is None else users:
        line = held[user]
        for item, truth in line.items():
            prediction = said[user][item]
            if prediction is None:
                silent += 1
                prediction = float(fallback[user][item])
            errors.append(min(max(prediction, scale[0]), scale[1]) - float(truth))
        listed = best(relevance[user], train[user], counts, n)
        everybody += listed
        angles = [
            1
            - sum(a * b for a, b in zip(genres[i], genres[j], strict=True))
            / math.sqrt(sum(genres[i]) * sum(genres[j]))
            for i in listed
            for j in listed
            if i != j and sum(genres[i]) and sum(genres[j])
        ]
        apart += [sum(angles) / len(angles)] if angles else []
        relevant = {item for item, truth in line.items() if truth >= relevant_from}
        if not relevant:
            continue
        hits = [place for place, item in enumerate(listed) if item in relevant]
        precision.append(len(hits) / n)
        recall.append(len(hits) / len(relevant))
        gained = sum(1 / math.log2(place + 2) for place in hits)
        ndcg.append(
            gained / sum(1 / math.log2(place + 2) for place in range(min(n, len(relevant))))
        )
        found_by = [sum(other <= place for other in hits) / (place + 1) for place in hits]
        average_precision.append(sum(found_by) / min(n, len(relevant)))
        hit.append(1.0 if hits else 0.0)
        activity.append(len(train[user]))
    metrics: dict[str, float] = {
        "users": len(precision),
        f"coverage@{n}": len(set(everybody)) / n_items,
    }
    if everybody:
        usual = sum(count * count for count in counts) / sum(
            counts
        )  # mean popularity of what is rated
        shown = sorted(everybody.count(item) for item in range(n_items))
        metrics[f"novelty@{n}"] = sum(
            -math.log2(max(counts[i], 1) / len(train)) for i in everybody
        ) / len(everybody)
        metrics[f"popularity_lift@{n}"] = sum(counts[i] for i in everybody) / len(everybody) / usual
        uneven = sum(
            abs(a - b) for a in shown for b in shown
        )  # the Gini coefficient as half the mean difference
        metrics[f"gini@{n}"] = uneven / (2 * n_items * len(everybody))
    if apart:
        metrics[f"diversity@{n}"] = sum(apart) / len(apart)
    if len(errors) > silent:
        metrics["raters"] = sum(bool(line) for line in held)
        metrics["rmse"] = math.sqrt(sum(error**2 for error in errors) / len(errors))
        metrics["mae"] = sum(abs(error) for error in errors) / len(errors)
        metrics["fallback_share"] = silent / len(errors)
    if precision:
        metrics[f"precision@{n}"] = sum(precision) / len(precision)
        metrics[f"recall@{n}"] = sum(recall) / len(recall)
        metrics[f"ndcg@{n}"] = sum(ndcg) / len(ndcg)
        metrics[f"map@{n}"] = sum(average_precision) / len(average_precision)
        metrics[f"hit_rate@{n}"] = sum(hit) / len(hit)
        ranked = sorted(range(len(activity)), key=lambda place: activity[place])
        quarter = max(1, len(ranked) // 4)
        metrics[f"precision_light@{n}"] = (
            sum(precision[place] for place in ranked[:quarter]) / quarter
        )
        metrics[f"precision_heavy@{n}"] = (
            sum(precision[place] for place in ranked[-quarter:]) / quarter
        )
    return metrics
