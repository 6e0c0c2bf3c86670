"""A stored reason -> a sentence, with the titles of the films and the names of the genres that it names by id."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

SHARES = {
    "user_user": "what people who rate alike think of it",
    "item_item": "your ratings of films like it",
    "neural": "its genres, as the network sees you",
    "average": "how it is rated by everyone",
    "popularity": "its number of ratings",
    "genres": "how often you watch its genres",
    "taste": "what goes with the films you rated",
    "recent": "what goes with your latest ratings",
}
"""What a share of the blend's score is called."""
SHOWN_SHARES = 3
"""Of the blend's shares, the largest; the others stay in the data."""
LEAST = 0.005
"""Below it a weight would be shown as 0.00."""
FILLER = "Not among your most promising films: it fills up a list that would be short."
FALLBACK = {
    "few ratings": "Popular: you have rated too few films to say more.",
    "nothing more to say": "Popular: of further films the model can say nothing to you.",
}
FLATTENED = "The network in this form has a weight of its own for every film, and cannot tell why."

SILENT = {
    "user": "Cannot say: the user has rated nothing.",
    "film": "Cannot say: nobody else has rated it.",
    "overlap": "Cannot say: nothing connects it with what the user rated.",
}
"""Only `recbatch explain` asks a model about films that it cannot speak of."""


def fallback(because: str) -> str:
    """The stored reason of a popular film that fills a list; `because` is a key of FALLBACK."""
    return json.dumps({"kind": "fallback", "because": because})


def no_prediction(cause: str) -> str:
    """The reason of a pair that a model cannot score; `cause` is a key of SILENT. Never stored."""
    return json.dumps({"kind": "silent", "cause": cause})


def read(stored: Any) -> dict[str, Any] | None:
    """A reason as a database returns it: Postgres a value, SQLite text; None where there is none."""
    reason = json.loads(stored) if isinstance(stored, str) and stored else stored
    return reason or None


def films(reason: Mapping[str, Any] | None) -> set[int]:
    """The ids of the films that a reason names."""
    found = {film for film, *_ in (reason or {}).get("films", ())}
    return found | {reason["listed_for"]} if reason and "listed_for" in reason else found


def genres(reason: Mapping[str, Any] | None) -> set[int]:
    """The ids of the genres that a reason names."""
    return {genre for genre, _ in (reason or {}).get("genres", ())}


def sentence(
    reason: Mapping[str, Any] | None, titles: Mapping[int, str], names: Mapping[int, str]
) -> str:
    """A reason in words, on one line; empty without a reason, or for one of a kind that is not known here.

    `titles` are of films by id and `names` of genres; one that is missing is called by its id. Titles are text: a sign
    that would move the cursor is shown as an escape, one that would break the line as a space.
    """
    tell = _TOLD.get((reason or {}).get("kind", ""))
    return tell(reason, titles, names) if tell and reason else ""


def _own_ratings(
    reason: Mapping[str, Any], titles: Mapping[int, str], _names: Mapping[int, str]
) -> str:
    told = [
        (f"{_called(film, titles, 'film')} {stars:.1f}", weight)
        for film, stars, weight in reason["films"]
    ]
    total = reason["others"] + sum(weight for *_, weight in told)
    if total < 0:  # then a film that lowers the rating is why
        told = [(words, -weight) for words, weight in told]
    parts = (
        _for_and_against(told, "because you gave ", "although you gave ")
        or "by many ratings, each of little weight"
    )
    listed = (
        f"Listed for {_called(reason['listed_for'], titles, 'film')}; "
        if "listed_for" in reason
        else ""
    )
    return f"{listed}{total:+.2f} stars {parts}."


def _people(
    reason: Mapping[str, Any], _titles: Mapping[int, str], _names: Mapping[int, str]
) -> str:
    told = []
    if reason["neighbours"]:
        who = _count(reason["neighbours"], "person who rates like you", "people who rate like you")
        mean = f"{reason['mean']:.1f}" + (" on average" if reason["neighbours"] > 1 else "")
        told.append(f"{who} gave it {mean} (strongest agreement {reason['agreement']:.2f} of 1)")
    if "opposed" in reason:
        number, stars = reason["opposed"]
        who = _count(number, "who rates against you", "who rate against you")
        told.append(f"{who} gave it {stars:.1f}" + (" on average" if number > 1 else ""))
    return f"{', '.join(told)}." if told else ""


def _own_genres(
    reason: Mapping[str, Any], _titles: Mapping[int, str], names: Mapping[int, str]
) -> str:
    told = [
        (f"{_called(genre, names, 'genre')} ({weight:+.2f})", weight)
        for genre, weight in reason["genres"]
        if abs(weight) >= LEAST
    ]
    parts = _for_and_against(told, "for ", "despite ")
    return f"{_capital(parts)}." if parts else "None of its genres moves it."


def _shares(
    reason: Mapping[str, Any], _titles: Mapping[int, str], _names: Mapping[int, str]
) -> str:
    # By name where two are alike: the order of an object's fields depends on the database.
    largest = sorted(reason["shares"].items(), key=lambda share: (-abs(share[1]), share[0]))[
        :SHOWN_SHARES
    ]
    told = [
        (f"{SHARES.get(name, name)} ({share:+.2f})", share)
        for name, share in largest
        if abs(share) >= LEAST
    ]
    parts = _for_and_against(told, "for ", "despite ")
    return f"{_capital(parts)}." if parts else "As promising as the average of your candidates."


def _for_and_against(told: Iterable[tuple[str, float]], first: str, second: str) -> str:
    """Words with weights -> those above 0 after one word, those below after another."""
    words = list(told)
    compared_runs = [(first, [word for word, weight in words if weight > 0])]
    compared_runs += [(second, [word for word, weight in words if weight < 0])]
    return ", ".join(start + _and(side) for start, side in compared_runs if side)


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _called(number: int, names: Mapping[int, str], what: str) -> str:
    text = names.get(number, f"{what} {number}")
    return "".join(_shown(sign) for sign in text)


def _shown(sign: str) -> str:
    if sign.isprintable():
        return sign
    return " " if sign.isspace() else sign.encode("unicode_escape").decode()


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


_TOLD = {
    "item_item": _own_ratings,
    "user_user": _people,
    "neural": _own_genres,
    "flattened": lambda *_: FLATTENED,
    "blend": _shares,
    "filler": lambda *_: FILLER,
    "fallback": lambda reason, *_: FALLBACK[reason["because"]],
    "silent": lambda reason, *_: SILENT[reason["cause"]],
}
"""Kinds of reasons; docs/reasons.md has their fields."""
