"""Facts -> tables of words: figures of models, checks, lists of sample users."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from batch.query import Film
from batch.serve.report import words
from batch.serve.report.facts import Churn, Facts
from batch.store.checks import FALLBACK_ROWS, Check

ABSENT = "–"


class Column(NamedTuple):
    """A metric, its words, how it is written, and which end of it is the best, if any is."""

    metric: str
    told: str
    number: Callable[[float], str] = words.decimals
    best: Callable[[Sequence[float]], float] | None = None


ACCURACY = (
    Column("precision", "precision", best=max), Column("recall", "recall", best=max),
    Column("ndcg", "NDCG", best=max), Column("map", "MAP", best=max), Column("hit_rate", "hit rate", words.share, max),
    Column("rmse", "RMSE", best=min), Column("mae", "MAE", best=min),
    Column("fallback_share", "fallback", words.share), Column("users", "users", words.count),
)  # fmt: skip
LISTS = (
    Column("coverage", "coverage", words.share, max), Column("popularity_lift", "popularity", words.times),
    Column("novelty", "novelty, bits", words.two), Column("gini", "Gini"),
    Column("diversity", "diversity", words.two),
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A figure in a table."""

    told: str
    best: bool = False
    failed: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table of figures."""

    name: str
    cells: Sequence[Cell]
    baseline: bool = False
    wanted: str = ""


@dataclass(frozen=True)
class Table:
    """Columns by their words."""

    columns: Sequence[str]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Single:
    """A check that is of no one model."""

    name: str
    kind: str
    wanted: str
    told: str
    failed: bool


@dataclass(frozen=True)
class Told:
    """A film of a list."""

    rank: int
    title: str
    stars: str
    why: str
    lists: int  # how many lists of this user have it; 0 for one


def figures(facts: Facts, columns: Sequence[Column]) -> Table:
    """A row a model, a column for each metric that any of them has."""
    names = [*facts.models, *facts.baselines]

    def value(model: str, column: Column) -> float | None:
        plain = facts.metric(model, column.metric)
        return facts.metric(model, f"{column.metric}@{facts.run.top_n}") if plain is None else plain

    shown = [
        column for column in columns if any(value(model, column) is not None for model in names)
    ]
    best = {}
    for column in shown:
        values = [found for model in names if (found := value(model, column)) is not None]
        best[column] = column.best(values) if column.best else None

    def cell(model: str, column: Column) -> Cell:
        found = value(model, column)
        return Cell(ABSENT) if found is None else Cell(column.number(found), found == best[column])

    told = [name for name in names if any(value(name, column) is not None for column in shown)]
    rows = [
        Row(name, [cell(name, column) for column in shown], name in facts.baselines)
        for name in told
    ]
    return Table([column.told for column in shown], rows)


def gates(facts: Facts) -> tuple[Table, list[Single]]:
    """Checks of one thing for each model as a row, and all others one by one; what failed comes first."""
    by_kind: dict[str, dict[str, Check]] = {}
    singles = []
    for check in facts.checks:
        model = next((name for name in facts.models if check.name.endswith(f"_{name}")), None)
        if model is None:
            singles.append(check)
        else:
            by_kind.setdefault(check.name.removesuffix(f"_{model}"), {})[model] = check
    models = [name for name in facts.models if any(name in found for found in by_kind.values())]
    kinds = sorted(
        by_kind, key=lambda kind: (all(check.passed for check in by_kind[kind].values()), kind)
    )
    rows = [Row(words.check(kind), [_cell(by_kind[kind].get(name)) for name in models],
                wanted=_wanted(list(by_kind[kind].values()))) for kind in kinds]  # fmt: skip
    singles.sort(key=lambda check: (check.passed, check.severity != "integrity", check.name))
    told = [
        Single(
            words.check(one.name),
            one.severity,
            _wanted([one]),
            words.figure(one.value),
            not one.passed,
        )
        for one in singles
    ]
    return Table(models, rows), told


def _cell(check: Check | None) -> Cell:
    return (
        Cell(ABSENT) if check is None else Cell(words.ratio(check.value), failed=not check.passed)
    )


def _wanted(checks: list[Check]) -> str:
    """The threshold that checks of one kind share, and its side, which a value on it does not tell."""
    if checks[0].severity == "integrity":
        return "none"
    side = next((check.wanted for check in checks if check.wanted), "")
    return f"{side} {words.figure(checks[0].threshold)}".strip()


def churn(facts: Facts, against: Churn) -> list[dict[str, str]]:
    """Films kept, by model."""
    rows = []
    for model in (model for model in facts.models if model in against.kept):
        by_films = against.kept[model]
        users = sum(by_films.values())
        mean = sum(films * count for films, count in by_films.items()) / users
        ends = {
            name: words.whole_share(by_films.get(films, 0) / users)
            for name, films in (("none", 0), ("all", against.ranks))
        }
        rows.append({"name": model, "users": words.count(users), "mean": words.two(mean), **ends})
    return rows


def reached(facts: Facts) -> list[dict[str, str]]:
    """Users with lists, by model."""
    rows = []
    for model, found in (
        (model, facts.lists[model]) for model in facts.models if model in facts.lists
    ):
        users, known = found.users, facts.run.n_users
        is_fallback = facts.metric(model, FALLBACK_ROWS)
        told = {
            "users": words.count(users),
            "shorter": words.count(users - found.full),
            "without": ABSENT if known is None else words.count(max(known - users, 0)),
            "stand_ins": ABSENT if is_fallback is None else words.share(is_fallback),
        }
        rows.append({"name": model, **told})
    return rows


def people(facts: Facts) -> list[dict[str, Any]]:
    """Sample users, with the lists of every model."""
    found = []
    for sample in facts.samples:
        told = {
            model: [
                _told(film, facts.run.scale, sample.agreed.get(film.movie_key, 0)) for film in films
            ]
            for model, films in sample.lists.items()
        }
        rated = f"{words.count(sample.ratings)} rating{'s' * (sample.ratings != 1)}"
        favourites = [(title, f"{stars:g}") for title, stars in sample.favourites]
        found.append(
            {
                "name": sample.name,
                "ratings": rated,
                "favourites": favourites,
                "lists": list(told.items()),
            }
        )
    return found


def _told(film: Film, scale: tuple[float, float] | None, lists: int) -> Told:
    stars = film.predicted_rating
    if stars is not None and scale:
        stars = min(max(stars, scale[0]), scale[1])
    return Told(
        film.rank, film.title, ABSENT if stars is None else words.two(stars), film.why, lists
    )
