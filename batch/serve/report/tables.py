"""Facts -> tables of text: metrics of models, checks, lists of sample users."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from batch.query import Film
from batch.serve.report import words
from batch.serve.report.facts import Churn, Facts
from batch.serve.report.lists import SampleUser
from batch.store.checks import FALLBACK_ROWS, Check

ABSENT = "–"


class Column(NamedTuple):
    """A metric, its heading, how it is written, and which end of it is the best, if any is."""

    metric: str
    heading: str
    number: Callable[[float], str] = words.decimals
    best: Callable[[Sequence[float]], float] | None = None


ACCURACY = (
    Column("precision", "precision", best=max),
    Column("recall", "recall", best=max),
    Column("ndcg", "NDCG", best=max),
    Column("map", "MAP", best=max),
    Column("hit_rate", "hit rate", words.share, best=max),
    Column("rmse", "RMSE", best=min),
    Column("mae", "MAE", best=min),
    Column("fallback_share", "fallback", words.share),
    Column("users", "users", words.count),
)
LISTS = (
    Column("coverage", "coverage", words.share, best=max),
    Column("popularity_lift", "popularity", words.times),
    Column("novelty", "novelty, bits", words.two),
    Column("gini", "Gini"),
    Column("diversity", "diversity", words.two),
)


@dataclass(frozen=True)
class Cell:
    """A figure in a table."""

    text: str
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
    """Rows under headings."""

    columns: Sequence[str]
    rows: Sequence[Row]


@dataclass(frozen=True)
class RunCheck:
    """A check of the run as a whole, not of one model."""

    name: str
    kind: str
    wanted: str
    value: str
    failed: bool


@dataclass(frozen=True)
class ListRow:
    """A film of a sample user's list."""

    rank: int
    title: str
    stars: str
    why: str
    lists: int  # how many lists of this user have the film; 0 for one


@dataclass(frozen=True)
class SampleLists:
    """A sample user, with the lists of every model."""

    name: str
    ratings: str
    favourites: Sequence[tuple[str, str]]  # title, stars
    lists: Sequence[tuple[str, Sequence[ListRow]]]  # model, films


def figures(facts: Facts, columns: Sequence[Column]) -> Table:
    """A row for each model, a column for each metric that any of them has."""
    names = [*facts.models, *facts.baselines]
    values: dict[str, dict[str, float]] = {}  # by metric and model
    for column in columns:
        figures_of_column = {name: facts.metrics.get(name, column.metric) for name in names}
        measured = {name: value for name, value in figures_of_column.items() if value is not None}
        if measured:
            values[column.metric] = measured
    filled = [column for column in columns if column.metric in values]
    rows = []
    for name in names:
        if any(name in by_model for by_model in values.values()):
            cells = [_figure(column, name, values[column.metric]) for column in filled]
            rows.append(Row(name, cells, baseline=name in facts.baselines))
    return Table([column.heading for column in filled], rows)


def _figure(column: Column, model: str, values: Mapping[str, float]) -> Cell:
    """One model's figure, marked if it is the best of the column."""
    value = values.get(model)
    if value is None:
        return Cell(ABSENT)
    best = column.best is not None and value == column.best(list(values.values()))
    return Cell(column.number(value), best=best)


def gates(facts: Facts) -> tuple[Table, list[RunCheck]]:
    """Checks of each model, a row for each kind; and those of the whole run. Failed ones first."""
    by_kind: dict[str, dict[str, Check]] = {}
    run_checks = []
    for check in facts.checks:
        model = _model_of(check, facts.models)
        if model is None:
            run_checks.append(check)
        else:
            kind = check.name.removesuffix(f"_{model}")
            by_kind.setdefault(kind, {})[model] = check
    models = [
        model for model in facts.models if any(model in checks for checks in by_kind.values())
    ]
    rows = []
    for kind, checks in sorted(by_kind.items(), key=_failed_first):
        cells = [_check_cell(checks.get(model)) for model in models]
        rows.append(Row(words.check(kind), cells, wanted=_wanted(list(checks.values()))))
    run_checks.sort(key=lambda check: (check.passed, check.severity != "integrity", check.name))
    return Table(models, rows), [_run_check(check) for check in run_checks]


def _model_of(check: Check, models: Sequence[str]) -> str | None:
    """The model whose name ends that of the check."""
    return next((model for model in models if check.name.endswith(f"_{model}")), None)


def _failed_first(item: tuple[str, Mapping[str, Check]]) -> tuple[bool, str]:
    """Sort key: kinds of checks that any model failed, then the others, by name."""
    kind, checks = item
    return all(check.passed for check in checks.values()), kind


def _check_cell(check: Check | None) -> Cell:
    if check is None:
        return Cell(ABSENT)
    return Cell(words.ratio(check.value), failed=not check.passed)


def _run_check(check: Check) -> RunCheck:
    return RunCheck(
        name=words.check(check.name),
        kind=check.severity,
        wanted=_wanted([check]),
        value=words.figure(check.value),
        failed=not check.passed,
    )


def _wanted(checks: Sequence[Check]) -> str:
    """The threshold of checks of one kind; its side from any check that is not on it."""
    if checks[0].severity == "integrity":
        return "none"
    side = next((check.wanted for check in checks if check.wanted), "")
    return f"{side} {words.figure(checks[0].threshold)}".strip()


def churn(facts: Facts, against: Churn) -> list[dict[str, str]]:
    """Films kept, by model."""
    rows = []
    for model in facts.models:
        if model not in against.kept:
            continue
        by_films = against.kept[model]
        users = sum(by_films.values())
        mean = sum(films * count for films, count in by_films.items()) / users
        row = {
            "name": model,
            "users": words.count(users),
            "mean": words.two(mean),
            "none": words.whole_share(by_films.get(0, 0) / users),
            "all": words.whole_share(by_films.get(against.ranks, 0) / users),
        }
        rows.append(row)
    return rows


def users_with_lists(facts: Facts) -> list[dict[str, str]]:
    """Users with a list, with a short one, and without, by model."""
    n_users = facts.run.n_users
    rows = []
    for model in facts.models:
        if model not in facts.lists:
            continue
        lists = facts.lists[model]
        without = None if n_users is None else max(n_users - lists.users, 0)
        fallback = facts.metrics.get(model, FALLBACK_ROWS)
        row = {
            "name": model,
            "users": words.count(lists.users),
            "shorter": words.count(lists.users - lists.full),
            "without": ABSENT if without is None else words.count(without),
            "stand_ins": ABSENT if fallback is None else words.share(fallback),
        }
        rows.append(row)
    return rows


def samples(facts: Facts) -> list[SampleLists]:
    """Sample users, with the lists of every model."""
    return [_sample(user, facts.run.scale) for user in facts.samples]


def _sample(user: SampleUser, scale: tuple[float, float] | None) -> SampleLists:
    plural = "" if user.ratings == 1 else "s"
    lists = []
    for model, films in user.lists.items():
        rows = [_list_row(film, scale, user.agreed.get(film.movie_key, 0)) for film in films]
        lists.append((model, rows))
    return SampleLists(
        name=user.name,
        ratings=f"{words.count(user.ratings)} rating{plural}",
        favourites=[(title, f"{stars:g}") for title, stars in user.favourites],
        lists=lists,
    )


def _list_row(film: Film, scale: tuple[float, float] | None, lists: int) -> ListRow:
    stars = film.predicted_rating
    if stars is not None and scale:
        lowest, highest = scale
        stars = min(max(stars, lowest), highest)
    text = ABSENT if stars is None else words.two(stars)
    return ListRow(film.rank, film.title, text, film.why, lists)
