"""A reason -> one sentence, with the titles of its films and the names of its genres."""

from collections.abc import Iterable, Mapping
from typing import Any

from batch.reasons import kinds

SHARES = {
    "user_user": "what people who rate alike think of it",
    "item_item": "your ratings of films like it",
    "neural": "its genres, as the network sees you",
    "average": "how it is rated by everyone",
    "popularity": "its number of ratings",
    "genres": "how often you watch its genres",
    "taste": "what goes with the films you rated",
    "recent": "what goes with your latest ratings",
    "trend": "how many rate it these days",
}
"""The shares of the blend's score: name -> words."""
MAX_SHARES = 3
"""Maximum shares that are put into words, the largest ones."""
MIN_WEIGHT = 0.005
"""A weight below this would be printed as 0.00."""
FILLER = "Not among your most promising films: it fills up a list that would be short."
FLATTENED = "The network in this form has a weight for every film, and no reason beyond it."
FALLBACK = {
    "few ratings": "Popular: you have rated too few films for a list of your own.",
    "nothing more to say": "Popular: the model predicts no further films for you.",
    "list ran short": "Popular: films of this list were rated, seen or filtered since it was made.",
}
NO_PREDICTION = {
    "user": "No prediction: the user has rated nothing.",
    "film": "No prediction: nobody else has rated it.",
    "overlap": "No prediction: nothing connects it with what the user rated.",
}

Names = Mapping[int, str]
Reason = Mapping[str, Any]


def liked_by(support: int) -> str:
    """Why a film is listed as similar to another: how many users liked both."""
    return f"Liked by {support:,} of the same people."


def sentence(reason: Reason | None, titles: Names, names: Names) -> str:
    """A reason in words, on one line; empty without a reason, or for one of an unknown kind.

    `titles` are of films by id and `names` of genres by id; one that is missing is replaced by
    its id. Titles are shown as text: a control character as an escape, a line break as a space.
    """
    if reason is None:
        return ""
    match reason.get("kind"):
        case kinds.ITEM_ITEM:
            return _own_ratings(reason, titles)
        case kinds.USER_USER:
            return _neighbours(reason)
        case kinds.NEURAL:
            return _own_genres(reason, names)
        case kinds.FLATTENED:
            return FLATTENED
        case kinds.BLEND:
            return _shares(reason)
        case kinds.FILLER:
            return FILLER
        case kinds.FALLBACK:
            return FALLBACK[reason["because"]]
        case kinds.NO_PREDICTION:
            return NO_PREDICTION[reason["cause"]]
    return ""


def _own_ratings(reason: Reason, titles: Names) -> str:
    total = reason["others"] + sum(weight for *_, weight in reason["films"])
    # Where the prediction is below the baseline, the films that lower it are its causes.
    sign = -1 if total < 0 else 1
    weighted = []
    for film, stars, weight in reason["films"]:
        title = _name(film, titles, "film")
        weighted.append((f"{title} {stars:.1f}", sign * weight))
    causes = _for_and_against(weighted, "because you gave ", "although you gave ")
    if not causes:
        causes = "by many ratings, each of little weight"
    listed = ""
    if "listed_for" in reason:
        listed = f"Listed for {_name(reason['listed_for'], titles, 'film')}; "
    return f"{listed}{total:+.2f} stars {causes}."


def _neighbours(reason: Reason) -> str:
    clauses = []
    count = reason["neighbours"]
    if count:
        people = _count(count, "person who rates like you", "people who rate like you")
        mean = _mean(reason["mean"], count)
        agreement = f"strongest agreement {reason['agreement']:.2f} of 1"
        clauses.append(f"{people} gave it {mean} ({agreement})")
    if "opposed" in reason:
        count, stars = reason["opposed"]
        people = _count(count, "who rates against you", "who rate against you")
        clauses.append(f"{people} gave it {_mean(stars, count)}")
    return f"{', '.join(clauses)}." if clauses else ""


def _own_genres(reason: Reason, names: Names) -> str:
    weighted = []
    for genre, weight in reason["genres"]:
        if abs(weight) >= MIN_WEIGHT:
            weighted.append((f"{_name(genre, names, 'genre')} ({weight:+.2f})", weight))
    causes = _for_and_against(weighted, "for ", "despite ")
    if not causes:
        return "None of its genres moves it."
    return f"{_capitalised(causes)}."


def _shares(reason: Reason) -> str:
    # Equal shares by name: the order of an object's fields depends on the database.
    largest = sorted(reason["shares"].items(), key=lambda item: (-abs(item[1]), item[0]))
    weighted = []
    for name, share in largest[:MAX_SHARES]:
        if abs(share) >= MIN_WEIGHT:
            weighted.append((f"{SHARES.get(name, name)} ({share:+.2f})", share))
    causes = _for_and_against(weighted, "for ", "despite ")
    if not causes:
        return "As promising as the average of your candidates."
    return f"{_capitalised(causes)}."


def _for_and_against(weighted: Iterable[tuple[str, float]], first: str, second: str) -> str:
    """(words, weight) -> words of weights above 0 after `first`, of those below after `second`."""
    pairs = list(weighted)
    raising = [words for words, weight in pairs if weight > 0]
    lowering = [words for words, weight in pairs if weight < 0]
    clauses = []
    if raising:
        clauses.append(first + _joined(raising))
    if lowering:
        clauses.append(second + _joined(lowering))
    return ", ".join(clauses)


def _joined(words: list[str]) -> str:
    if len(words) == 1:
        return words[0]
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _mean(stars: float, count: int) -> str:
    return f"{stars:.1f} on average" if count > 1 else f"{stars:.1f}"


def _count(number: int, singular: str, plural: str) -> str:
    return f"{number:,} {singular if number == 1 else plural}"


def _name(number: int, names: Names, what: str) -> str:
    text = names.get(number, f"{what} {number}")
    return "".join(_printable(character) for character in text)


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    if character.isspace():
        return " "
    return character.encode("unicode_escape").decode()


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
