"""A seed -> the sample CSV files: a wide user x film matrix and a one-hot film x genre matrix."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Relative frequencies: a few broad genres, a long tail of rare ones.
GENRES = {
    "action": 23, "adventure": 18, "animation": 5, "biography": 6, "comedy": 38, "crime": 16, "documentary": 2,
    "drama": 50, "family": 10, "fantasy": 12, "film-noir": 0.2, "history": 3.5, "horror": 12, "music": 4, "musical": 3,
    "mystery": 10, "news": 0.1, "reality-tv": 0.1, "romance": 23, "sci-fi": 13, "short": 0.1, "sport": 3.5,
    "thriller": 27, "war": 4, "western": 2,
}  # fmt: skip
GENRES_PER_FILM = {1: 0.14, 2: 0.27, 3: 0.31, 4: 0.19, 5: 0.07, 6: 0.02}

# Words to invent names from, parted by spaces.
FIRST = (
    "Nora Tomas Amina Jonas Priya Mateo Ingrid Kofi Elena Hugo Mei Søren Fatima Oscar Leila Łukasz Clara Ravi Zoë "
    "Daniel Yuki Samuel Greta Andrés Naomi Viktor Salma Henrik Joana Emeka Ruth Pavel"
)
LAST = (
    "Lindqvist Okafor Moreau Tanaka Novak Silva Haddad Brandt Castillo Iyer Keller Osei Petrov Marchetti Dubois "
    "Eriksen Farouk Gallagher Horvat Jansen Kowalski Larsen Mbeki Núñez Oliveira Park Quist Rossi Sato Thorne Vance "
    "Whitlock"
)
ADJECTIVES = (
    "Silent Crimson Hollow Distant Restless Gilded Forgotten Northern Paper Broken Velvet Wandering Copper Sleepless "
    "Borrowed Frozen Painted Reluctant Drowned Electric Patient Second Tangled Unlikely Windless Salted"
)
NOUNS = (
    "Harbour Lantern Orchard Witness Carousel Letter Signal Cartographer Winter Engine Garden Heiress Compass Tide "
    "Ballroom Sparrow Verdict Lighthouse Stranger Recipe Railway Archive Fugitive Mirror Anthem Beekeeper Tournament "
    "Shoreline Clockmaker Passenger"
)
PLACES = (
    "Tallinn Valparaíso Dunmore Calloway Zanzibar Mercy Halden Trieste Nagasaki Oxbow Samarkand Larkspur Bergen "
    "Monteverde Kestrel Ashby Cordoba Saltmarsh Windermere Juniper Odessa Fairweather Marrow Tangier"
)
# Text that careless reading breaks: a number, commas, quotes, colons, letters outside ASCII.
AWKWARD = (
    "3017",
    "Salt, Smoke and Cinnamon",
    "Äppelträdgården",
    'The Tailor They Called "Thimble"',
    "Bay 4: 23:45",
)

MEAN = 3.4
LEAST_RATED, MOST_RATED = 23, 39  # films per user
NOISE = 0.7  # stars; what no model can predict


class SampleFiles(NamedTuple):
    ratings: Path
    genres: Path
    n_ratings: int


def write_sample(
    folder: Path, *, seed: int = 20261123, n_users: int = 600, n_items: int = 2000
) -> SampleFiles:
    """Write `user_reviews.csv` and `movie_genres.csv` into `folder`; the same arguments give the same bytes.

    A user rates 23 to 39 films, but never more than half of a small catalogue (one film at least).
    ValueError if there is no user or no film.
    """
    if n_users < 1 or n_items < 1:
        raise ValueError(
            f"a sample of {n_users} users x {n_items} films is empty; ask for at least 1 x 1"
        )
    rng = np.random.default_rng(seed)
    users = _invent(
        rng, [f"{first} {last}" for first in FIRST.split() for last in LAST.split()], n_users
    )
    titles = _titles(rng, n_items)
    genres = _genres(rng, n_items)
    ratings = _ratings(rng, genres, n_users)

    folder.mkdir(parents=True, exist_ok=True)
    files = SampleFiles(
        folder / "user_reviews.csv", folder / "movie_genres.csv", int(np.count_nonzero(ratings))
    )
    _write_table(files.ratings, ["User", *titles], users, ratings.tolist())
    _write_table(
        files.genres,
        ["movie_title", *(f"genre_{g}" for g in GENRES)],
        titles,
        genres.astype(int).tolist(),
    )
    return files


def _invent(rng: np.random.Generator, names: Sequence[str], n: int) -> list[str]:
    """n unique names in random order; when the names run out they come again as "... 2", "... 3"."""
    shuffled = [names[i] for i in rng.permutation(len(names))]
    rounds = range(1, -(-n // len(names)) + 1)
    return [name if part == 1 else f"{name} {part}" for part in rounds for name in shuffled][:n]


def _titles(rng: np.random.Generator, n_items: int) -> list[str]:
    nouns = NOUNS.split()
    plain = [f"The {adjective} {noun}" for adjective in ADJECTIVES.split() for noun in nouns]
    plain += [f"The {noun} of {place}" for place in PLACES.split() for noun in nouns]
    plain += [f"{first}'s {noun}" for first in FIRST.split() for noun in nouns]
    titles = [*AWKWARD, *_invent(rng, plain, n_items)][:n_items]
    return [titles[i] for i in rng.permutation(n_items)]


def _genres(rng: np.random.Generator, n_items: int) -> Floats:
    """One-hot genres, (n_items, n_genres): 1 to 6 per film, frequent genres more often."""
    weights = np.log(list(GENRES.values()))  # (n_genres,)
    n_of = rng.choice(
        list(GENRES_PER_FILM), size=n_items, p=list(GENRES_PER_FILM.values())
    )  # (n_items,)
    return (_draw_order(rng, np.tile(weights, (n_items, 1))) < n_of[:, None]).astype(float)


def _ratings(rng: np.random.Generator, genres: Floats, n_users: int) -> Floats:
    """Whole stars, (n_users, n_items), 0 where not rated.

    Two tastes drive both what a user watches and how it is liked: one for genres, and one for a mood, two numbers per
    film that no genre tells and only the company a film keeps in the ratings gives away. The mood weighs more in
    watching, the genres more in liking, so that lists and predicted ratings each have something to find: with these
    weights simple models put about twice as many held-out likes into a top five as the most popular films do, and
    predict 6 % closer than user and film means (RMSE).
    """
    n_items, n_genres = genres.shape
    likes = rng.normal(size=(n_users, n_genres))
    by_genre = (
        likes @ (genres / np.sqrt(genres.sum(axis=1, keepdims=True))).T
    )  # (n_users, n_items), sd 1
    mood, moods_liked = rng.normal(size=(n_items, 2)), rng.normal(size=(n_users, 2))
    by_mood = moods_liked @ mood.T / np.sqrt(2)  # (n_users, n_items), sd 1

    # Zipf-Mandelbrot: watching falls as (rank + 1) ** -0.8, which leaves some films without any rating.
    fame = -0.8 * np.log(2 + rng.permutation(n_items))  # (n_items,)
    n_rated = LEAST_RATED + (MOST_RATED - LEAST_RATED + 1) * rng.beta(
        1.2, 2.9, size=n_users
    )  # (n_users,)
    n_rated = np.minimum(np.floor(n_rated), max(1, n_items // 2))  # mean 27.5
    rated = (
        _draw_order(rng, fame + 1.3 * by_genre + 1.4 * by_mood) < n_rated[:, None]
    )  # (n_users, n_items)

    quality = 0.2 * fame + rng.normal(
        scale=0.25, size=n_items
    )  # (n_items,), stars: famous films are a little better
    strictness = rng.normal(scale=0.3, size=(n_users, 1))  # stars
    noise = rng.normal(scale=NOISE, size=(n_users, n_items))  # stars
    opinion = (0.95 * by_genre + 0.3 * by_mood + quality + strictness + noise)[
        rated
    ]  # (n_ratings,), stars
    ratings = np.zeros((n_users, n_items))
    ratings[rated] = _whole_stars(opinion)
    return ratings


def _draw_order(rng: np.random.Generator, log_weights: Floats) -> npt.NDArray[np.intp]:
    """Each row's place (0 = first) of every column when drawn without replacement by weight (Gumbel-top-k)."""
    keys = log_weights + rng.gumbel(size=log_weights.shape)
    return np.argsort(np.argsort(-keys, axis=1, kind="stable"), axis=1, kind="stable")


def _whole_stars(opinion: Floats) -> Floats:
    """Opinions on any scale of stars -> 1..5, shifted so that the mean after rounding and clipping is MEAN."""
    shift = MEAN - opinion.mean()
    for _ in range(20):  # each step leaves a fraction of the error that clipping makes
        shift += MEAN - np.clip(np.rint(opinion + shift), 1, 5).mean()
    stars: Floats = np.clip(np.rint(opinion + shift), 1, 5)
    return stars


def _write_table(
    path: Path, header: Sequence[str], names: Sequence[str], cells: Iterable[Sequence[float]]
) -> None:
    """Rows of (number, name, cells...) under `header`, whose first column has no name."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["", *header])
        writer.writerows(
            [number, name, *row]
            for number, (name, row) in enumerate(zip(names, cells, strict=True))
        )
