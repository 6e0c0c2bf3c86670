"""A random generator -> invented names of users and titles of films."""

from collections.abc import Sequence

import numpy as np

# Words for invented names, separated by spaces.
FIRST = (
    "Nora Tomas Amina Jonas Priya Mateo Ingrid Kofi Elena Hugo Mei Søren Fatima "
    "Oscar Leila Łukasz Clara Ravi Zoë Daniel Yuki Samuel Greta Andrés Naomi "
    "Viktor Salma Henrik Joana Emeka Ruth Pavel"
)
LAST = (
    "Lindqvist Okafor Moreau Tanaka Novak Silva Haddad Brandt Castillo Iyer "
    "Keller Osei Petrov Marchetti Dubois Eriksen Farouk Gallagher Horvat Jansen "
    "Kowalski Larsen Mbeki Núñez Oliveira Park Quist Rossi Sato Thorne Vance "
    "Whitlock"
)
ADJECTIVES = (
    "Silent Crimson Hollow Distant Restless Gilded Forgotten Northern Paper "
    "Broken Velvet Wandering Copper Sleepless Borrowed Frozen Painted Reluctant "
    "Drowned Electric Patient Second Tangled Unlikely Windless Salted"
)
NOUNS = (
    "Harbour Lantern Orchard Witness Carousel Letter Signal Cartographer Winter "
    "Engine Garden Heiress Compass Tide Ballroom Sparrow Verdict Lighthouse "
    "Stranger Recipe Railway Archive Fugitive Mirror Anthem Beekeeper "
    "Tournament Shoreline Clockmaker Passenger"
)
PLACES = (
    "Tallinn Valparaíso Dunmore Calloway Zanzibar Mercy Halden Trieste Nagasaki "
    "Oxbow Samarkand Larkspur Bergen Monteverde Kestrel Ashby Cordoba Saltmarsh "
    "Windermere Juniper Odessa Fairweather Marrow Tangier"
)
AWKWARD = (
    "3017",
    "Salt, Smoke and Cinnamon",
    "Äppelträdgården",
    'The Tailor They Called "Thimble"',
    "Bay 4: 23:45",
)
"""Titles that careless reading breaks: a number, commas, letters outside ASCII, quotes, colons."""


def user_names(rng: np.random.Generator, n_users: int) -> list[str]:
    """Unique names, in random order."""
    full_names = [f"{first} {last}" for first in FIRST.split() for last in LAST.split()]
    return _invent(rng, full_names, n_users)


def film_titles(rng: np.random.Generator, n_items: int) -> list[str]:
    """Unique titles, in random order; the awkward ones are always among them."""
    nouns = NOUNS.split()
    names = [f"The {adjective} {noun}" for adjective in ADJECTIVES.split() for noun in nouns]
    names += [f"The {noun} of {place}" for place in PLACES.split() for noun in nouns]
    names += [f"{first}'s {noun}" for first in FIRST.split() for noun in nouns]
    titles = [*AWKWARD, *_invent(rng, names, n_items)][:n_items]
    return [titles[i] for i in rng.permutation(n_items)]


def _invent(rng: np.random.Generator, names: Sequence[str], n: int) -> list[str]:
    """n unique names in random order; if there are too few, again with " 2", " 3", ... added."""
    shuffled = [names[i] for i in rng.permutation(len(names))]
    n_rounds = -(-n // len(names))
    invented = list(shuffled)
    for number in range(2, n_rounds + 1):
        invented += [f"{name} {number}" for name in shuffled]
    return invented[:n]
