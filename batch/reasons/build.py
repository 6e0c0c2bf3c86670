"""Ids, counts and weights of a reason -> the JSON text that is stored beside a listed film."""

import json
from collections.abc import Iterable, Mapping

from batch.reasons import kinds

PARTS_OF_STAR = 1000
"""Weights in stars are stored, and passed here, in thousandths of a star."""
PARTS_OF_ODDS = 100
"""Shares of the blend are stored, and passed here, in hundredths of log-odds."""


# A night builds a text for every row of every list. Hence f-strings, which take 0.6 of the time
# of json.dumps; what goes in is numbers, and names that are constants of this program.


def own_ratings(
    films: Iterable[tuple[int, float, int]], others: int, listed_for: int | None
) -> str:
    """The user's own ratings that weigh most in a prediction of `item_item`.

    `films` are (movie_id, stars, weight), heaviest first; one of weight 0 is left out. `others`
    is the weight of all other ratings. `listed_for` is the movie_id that put the film into the
    list, where learnt weights order it.
    """
    parts = [
        f"[{film},{stars:g},{_decimal(weight, PARTS_OF_STAR)}]"
        for film, stars, weight in films
        if weight
    ]
    text = f'{{"kind":"{kinds.ITEM_ITEM}","films":[{",".join(parts)}]'
    text += f',"others":{_decimal(others, PARTS_OF_STAR)}'
    if listed_for is not None:
        text += f',"listed_for":{listed_for}'
    return text + "}"


def neighbours(
    similar: int,
    mean: float,
    agreement: float,
    opposed: int,
    opposed_mean: float,
    weight: int,
) -> str:
    """How many similar and opposed users rated a film, for a prediction of `user_user`.

    `mean` and `opposed_mean` are the stars they gave it; `agreement` is the largest similarity.
    The figures of a side without users are left out.
    """
    text = f'{{"kind":"{kinds.USER_USER}","neighbours":{similar}'
    if similar:
        text += f',"mean":{mean:.2f},"agreement":{agreement:.2f}'
    if opposed:
        text += f',"opposed":[{opposed},{opposed_mean:.2f}]'
    return f'{text},"weight":{_decimal(weight, PARTS_OF_STAR)}}}'


def own_genres(genres: Iterable[tuple[int, int]], others: int) -> str:
    """The film's genres that weigh most in a prediction of `neural`.

    `genres` are (genre_id, weight), heaviest first; one of weight 0 is left out. `others` is
    the weight of everything else.
    """
    parts = [f"[{genre},{_decimal(weight, PARTS_OF_STAR)}]" for genre, weight in genres if weight]
    text = f'{{"kind":"{kinds.NEURAL}","genres":[{",".join(parts)}]'
    return f'{text},"others":{_decimal(others, PARTS_OF_STAR)}}}'


def departure(weight: int) -> str:
    """How far a prediction of the flattened network is from the baseline, which is all it has."""
    return f'{{"kind":"{kinds.FLATTENED}","weight":{_decimal(weight, PARTS_OF_STAR)}}}'


def shares(start: int, added: Mapping[str, int]) -> str:
    """What each part of the blend adds to the log-odds `start` of the user's average candidate.

    `added` is by the names of SHARES; a share of 0 is left out.
    """
    parts = [f'"{name}":{_decimal(share, PARTS_OF_ODDS)}' for name, share in added.items() if share]
    text = f'{{"kind":"{kinds.BLEND}","start":{_decimal(start, PARTS_OF_ODDS)}'
    return f'{text},"shares":{{{",".join(parts)}}}}}'


def filler() -> str:
    """A film that was no candidate of the blend and fills a short list."""
    return f'{{"kind":"{kinds.FILLER}"}}'


def fallback(because: str) -> str:
    """A popular film that fills a model's list; `because` is a key of `FALLBACK`."""
    return json.dumps({"kind": kinds.FALLBACK, "because": because})


def no_prediction(cause: str) -> str:
    """A pair that a model cannot score, never stored; `cause` is a key of `NO_PREDICTION`."""
    return json.dumps({"kind": kinds.NO_PREDICTION, "cause": cause})


def _decimal(parts: int, unit: int) -> str:
    """`parts` / `unit` as text, without a decimal point where it is whole."""
    whole, rest = divmod(parts, unit)
    return repr(parts / unit) if rest else str(whole)
