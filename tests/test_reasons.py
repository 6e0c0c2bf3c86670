"""Reasons: their stored text, rounded truly, and their sentences, with titles only as text."""

import json
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from batch import query, reasons
from batch.cli import tables
from batch.models.evidence import (
    LARGEST,
    Evidence,
    Neighbours,
    Opaque,
    OwnGenres,
    OwnRatings,
    Shares,
)
from batch.ratings import NOBODY, Ints
from batch.reasons import films, genres, sentence
from batch.reasons.sentences import FALLBACK, FILLER, FLATTENED, NO_PREDICTION

TITLES = {1: "The Matrix", 2: "Blade Runner", 3: "Twilight", 4: "Heat"}
GENRES = {1: "Drama", 2: "Crime", 3: "Comedy"}
NAN = np.nan


def neighbours(**fields: Any) -> dict[str, Any]:
    return {"kind": "user_user", "weight": 0.2, **fields}


def own(named: list[list[float]], others: float, **fields: Any) -> dict[str, Any]:
    return {"kind": "item_item", "films": named, "others": others, **fields}


SENTENCES: list[tuple[dict[str, Any] | None, str]] = [
    (
        own([[1, 5, 0.3], [2, 4.5, 0.12]], 0.05),
        "+0.47 stars because you gave The Matrix 5.0 and Blade Runner 4.5.",
    ),
    (
        own([[1, 5, 0.3], [3, 1, -0.2], [2, 4.5, 0.12]], 0.05, listed_for=4),
        "Listed for Heat; +0.27 stars because you gave The Matrix 5.0 and Blade Runner 4.5, "
        "although you gave Twilight 1.0.",
    ),
    (
        own([[3, 1, -0.2], [1, 5, 0.1]], -0.1, listed_for=1),
        "Listed for The Matrix; -0.20 stars because you gave Twilight 1.0, although you gave "
        "The Matrix 5.0.",
    ),
    (own([], 0), "+0.00 stars by many ratings, each of little weight."),
    (own([[9, 5, 0.3]], 0), "+0.30 stars because you gave film 9 5.0."),
    (
        neighbours(neighbours=45, mean=4.53, agreement=0.83),
        "45 people who rate like you gave it 4.5 on average (strongest agreement 0.83 of 1).",
    ),
    (
        neighbours(neighbours=1, mean=5, agreement=0.4, opposed=[1200, 3.14]),
        "1 person who rates like you gave it 5.0 (strongest agreement 0.40 of 1), "
        "1,200 who rate against you gave it 3.1 on average.",
    ),
    (neighbours(neighbours=0, opposed=[1, 1]), "1 who rates against you gave it 1.0."),
    (
        {"kind": "neural", "genres": [[1, 0.21], [2, 0.1], [3, -0.05]], "others": 0.1},
        "For Drama (+0.21) and Crime (+0.10), despite Comedy (-0.05).",
    ),
    ({"kind": "neural", "genres": [[1, -0.3], [2, 0.004]], "others": 0}, "Despite Drama (-0.30)."),
    ({"kind": "neural", "genres": [], "others": 0.1}, "None of its genres moves it."),
    (
        {
            "kind": "blend",
            "start": -3.1,
            "shares": {"average": 0.02, "taste": 0.6, "popularity": -0.2, "neural": 0.1},
        },
        "For what goes with the films you rated (+0.60) and its genres, as the network sees you "
        "(+0.10), despite its number of ratings (-0.20).",
    ),
    (
        {"kind": "blend", "start": -3.1, "shares": {}},
        "As promising as the average of your candidates.",
    ),
    ({"kind": "flattened", "weight": 0.3}, FLATTENED),
    ({"kind": "filler"}, FILLER),
    ({"kind": "of tomorrow"}, ""),
    (None, ""),
]


@pytest.mark.parametrize(("reason", "words"), SENTENCES)
def test_sentences(reason: dict[str, Any] | None, words: str) -> None:
    """Each kind of reason has one exact sentence; no reason, or an unknown kind, has none."""
    assert sentence(reason, TITLES, GENRES) == words


@pytest.mark.parametrize(
    ("build", "sentences"),
    [(reasons.fallback, FALLBACK), (reasons.no_prediction, NO_PREDICTION)],
)
def test_every_cause_has_a_sentence(build: Any, sentences: dict[str, str]) -> None:
    """A fallback, and a pair without a prediction, is built, read and worded for each cause."""
    for cause, words in sentences.items():
        text = build(cause)
        assert sentence(reasons.read(text), {}, {}) == words
        assert text == json.dumps(json.loads(text))


def test_the_ids_of_a_reason() -> None:
    """The ids that a sentence needs are those of its films, with `listed_for`, and its genres."""
    reason = own([[1, 5, 0.3], [3, 1, -0.2]], 0.05, listed_for=4)
    assert (films(reason), genres(reason)) == ({1, 3, 4}, set())
    reason = {"kind": "neural", "genres": [[1, 0.21], [3, -0.05]], "others": 0.1}
    assert (films(reason), genres(reason)) == (set(), {1, 3})
    assert films(None) | genres(None) | films({"kind": "filler"}) == set()


HOSTILE = [
    "[bold]Loud[/bold]",
    ":smile:",
    "\"quoted\" 'twice'",
    "a\x1b[31mred\x07\x08\x9b2J",
    "two\nlines\ttab\r",
    "right \u202e to left",
    "{0} %s {title}",
    "'; DROP TABLE movies; --",
    "5.0 and Heat 5.0",
    "<b>&amp;</b>",
    "Amélie ½ 映画",
]


@pytest.mark.parametrize("title", HOSTILE)
def test_hostile_titles_stay_text(title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A title is shown letter by letter: no markup, second line or control character."""
    words = sentence(own([[1, 5, 0.3]], 0), {1: title}, {})
    assert words.isprintable()
    assert words.startswith("+0.30 stars because you gave ")
    assert words.endswith(" 5.0.")
    if title.isprintable():
        assert title in words
    film = query.Film(1, "1", "Heat", 0.5, 4.0, None, words)
    out = StringIO()

    def console(**options: bool) -> Console:
        return Console(file=out, width=80, **options)

    monkeypatch.setattr("rich.console.Console", console)
    tables.list_tables([query.Answer("1", None, "item_item", 1, None, (1, 5), (film,))])
    printed = out.getvalue()
    assert "".join(words.split()) in "".join(printed.split())
    assert all(len(line) <= 80 for line in printed.splitlines())


@dataclass(frozen=True)
class Ids:
    """The database's ids of columns."""

    movie_ids: Ints
    genre_ids: Ints


IDS = Ids(np.array([70, 71, 72, 73]), np.array([7, 8, 9]))


def stored(evidence: Evidence) -> list[str]:
    """Reasons as they are stored, each of them JSON or empty."""
    texts = evidence.stored(IDS)
    assert all(json.loads(text) for text in texts if text)
    return texts


def test_own_ratings_are_stored() -> None:
    """Films by id with stars and weight, the rest in `others`; a weight of 0 is left out."""
    rows = OwnRatings(
        films=np.array([[2, 0, NOBODY], [1, 3, 2], [NOBODY] * 3, [0, 1, 2]]),
        stars=np.array([[4.5, 3, 0], [5, 1, 2.25], [0, 0, 0], [1, 1, 1]]),
        weights=np.array([[0.25, -0.0312, 0], [1.5, -1, 0.0001], [0, 0, 0], [1, 1, 1]]),
        departure=np.array([0.3, 2, 0, NAN]),
        listed_for=np.array([NOBODY, 3, 0, 1]),
    )
    assert stored(rows) == [
        '{"kind":"item_item","films":[[72,4.5,0.25],[70,3,-0.031]],"others":0.081}',
        '{"kind":"item_item","films":[[71,5,1.5],[73,1,-1]],"others":1.5,"listed_for":73}',
        '{"kind":"item_item","films":[],"others":0,"listed_for":70}',
        "",
    ]


def test_neighbours_are_stored_as_numbers() -> None:
    """How many users are similar and opposed, with means, unless there are none of them."""
    rows = Neighbours(
        similar=np.array([3, 0, 2]),
        mean=np.array([4 + 1 / 3, 0, 1]),
        agreement=np.array([0.516, 0, 1]),
        opposed=np.array([0, 2, 1]),
        opposed_mean=np.array([0, 1.5, 2]),
        departure=np.array([0.5, -0.25, NAN]),
    )
    assert stored(rows) == [
        '{"kind":"user_user","neighbours":3,"mean":4.33,"agreement":0.52,"weight":0.5}',
        '{"kind":"user_user","neighbours":0,"opposed":[2,1.50],"weight":-0.25}',
        "",
    ]


def test_genres_and_networks_are_stored() -> None:
    """Genres by id with weights, and the rest; of the original form only the departure."""
    rows = OwnGenres(np.array([[2, 0, NOBODY]]), np.array([[-0.5, 0.25, 0]]), np.array([-0.125]))
    assert stored(rows) == ['{"kind":"neural","genres":[[9,-0.5],[7,0.25]],"others":0.125}']
    assert stored(Opaque(np.array([0.75, NAN]))) == ['{"kind":"flattened","weight":0.75}', ""]


def test_shares_are_stored() -> None:
    """The start of the odds and what each share adds, unless 0; or that the film is a filler."""
    rows = Shares(("taste", "neural"), -3.25, np.array([[0.5, 0], [0, 0]]), [False, True])
    assert stored(rows) == [
        '{"kind":"blend","start":-3.25,"shares":{"taste":0.5}}',
        '{"kind":"filler"}',
    ]


def test_rounded_weights_add_up() -> None:
    """Stored weights are right to 0.001, and add up to the departure rounded to 0.001."""
    random = np.random.default_rng(0)
    weights = random.normal(size=(500, 3)) * 10.0 ** random.integers(-4, 2, (500, 1))
    departure = random.normal(size=500)
    films_named = np.tile([0, 1, 2], (500, 1))
    rows = OwnRatings(films_named, weights, weights, departure, np.full(500, NOBODY))
    for text, exact, total in zip(stored(rows), weights, departure, strict=True):
        reason = json.loads(text)
        by_film = {film: weight for film, _, weight in reason["films"]}
        for film, weight in zip(IDS.movie_ids.tolist(), exact, strict=False):
            assert abs(by_film.get(film, 0) - weight) <= 0.001 + 1e-12
        assert sum(by_film.values()) + reason["others"] == pytest.approx(round(total, 3), abs=1e-9)


def test_infinite_weights_are_bounded() -> None:
    """Infinite weights are stored as the bound of a rating, so that the audit finds the run."""
    rows = OwnRatings(
        films=np.array([[0, NOBODY, NOBODY]]),
        stars=np.ones((1, 3)),
        weights=np.array([[np.inf, 0, 0]]),
        departure=np.array([np.inf]),
        listed_for=np.array([NOBODY]),
    )
    [text] = stored(rows)
    assert json.loads(text)["films"] == [[70, 1, LARGEST]]
