"""Ratings -> knobs: the seeded search behind `models.preset: tuned`, and how the shipped values compare: Markdown.

    pip install --constraint constraints.txt --editable '.[bench]'
    python benchmarks/tune.py                         # MovieLens ml-latest-small and the sample; docs/tuning.md
    python benchmarks/tune.py --models user_user --trials 10

Three data sets: ml-latest-small by time, the same at random without times, and the generated sample. Of each, a fifth
is set aside as quality.py sets it aside with the same seed, and not read here: of ml-latest-small both what `time`
holds out and the first fold of `random`, from either data set, since what one sets aside is else in the other. (The
five folds of `random` together are all ratings: of these only the first is unseen.) What is left is cut once more, by
`hold_out`: settings are fitted on one part and measured on the other.

For ratings, RMSE counts, relative to `bias`; for what orders lists, NDCG@5 relative to `popular`; both are means over
the data sets. The knobs that order lists do not touch RMSE, so the search has two stages: optuna's TPE finds the knobs
of RMSE, half of its trials with all neighbours, then every value of the knob of lists is tried with those fixed. The
shipped setting is the first one tried.

The best of many is partly luck. So what is chosen is the shipped setting unless the best is ahead by more than MARGIN,
and else the best that listens to all neighbours unless that is behind by more; and those named are measured again on
inner cuts with seeds that the search did not use. By time there is only one cut.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from batch.models import PERSONAL, fit
from batch.params import PRESETS, Knobs
from batch.ranking.evaluate import hold_out
from batch.ranking.metrics import Catalogue, Metrics, measure
from batch.ratings import Ints, Ratings
from quality import DATA, N, _markdown, _say, alone, folds, read

Setting = Mapping[str, Any]
Space = Mapping[str, tuple[Any, ...]]

NEIGHBOURHOOD: Space = {
    "baseline": ("bias", "user_mean"),
    "similarity": ("adjusted_cosine", "cosine", "pearson", "full_cosine"),
    "overlap_shrinkage": (0, 2, 5, 10, 20, 50, 100, 200),
    "support_shrinkage": (0, 0.1, 0.3, 1, 3, 10, 30),
    "neighbours": ("all", 20, 40, 80, 160, 320),
}
RATINGS: Mapping[str, Space] = {
    "user_user": NEIGHBOURHOOD,
    "item_item": NEIGHBOURHOOD,
    "neural": {
        "activation": ("none", "relu"),
        "hidden": (8, 16, 32, 64),
        "learning_rate": (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03),
        "weight_decay": (1, 3, 5, 10, 15, 20, 30, 50, 100),
        "batch_size": (1024, 4096),
    },
}
"""What RMSE is searched over; of a row of numbers, the sampler knows the order."""
LISTS: Mapping[str, Space] = {
    "user_user": {"support_weight": (0, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 8, 12, 20)},
    "item_item": {
        "learnt_ridge": (0, 30, 100, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000, 10000)
    },
}
"""The one knob of lists, tried at every value."""
UNHEARD = {"item_item": {"learnt_ridge": 0}}
"""Set while RMSE is searched, which does not depend on it: it halves the time."""
FIT_SEEDS = {"neural": 2}
"""Fits that are averaged where a fit is random."""
MARGIN = {"rmse": 0.002, f"ndcg@{N}": 0.02}
"""Share by which a setting must be ahead to be preferred: below, it is a matter of which ratings were held out."""
CHECKS = 2
"""Further inner cuts."""


@dataclass(frozen=True)
class Part:
    """One inner cut of one data set, with the baselines to beat."""

    name: str
    train: Ratings
    held: Ratings

    @cached_property
    def bias(self) -> Metrics:
        return measured("bias", None, self, [0])

    @cached_property
    def popular(self) -> Metrics:
        return measured("popular", None, self, [0])


@dataclass(frozen=True)
class Tried:
    """A setting, and what it came to on every part."""

    setting: Setting
    figures: tuple[Metrics, ...]
    parts: tuple[Part, ...]

    def relative(self, metric: str) -> float:
        """Mean over parts of RMSE relative to bias, or of a figure of lists relative to popular; 1 is level."""
        beside = [part.bias if metric == "rmse" else part.popular for part in self.parts]
        return float(
            np.mean(
                [
                    own[metric] / other[metric]
                    for own, other in zip(self.figures, beside, strict=True)
                ]
            )
        )

    def loss(self, metric: str) -> float:
        """Lower is better."""
        return self.relative(metric) if metric == "rmse" else -self.relative(metric)

    @property
    def beats_popular(self) -> bool:
        """Its lists are more precise on every part."""
        name = f"precision@{N}"
        return all(
            own[name] > part.popular[name]
            for own, part in zip(self.figures, self.parts, strict=True)
        )


@dataclass(frozen=True)
class Found:
    """The outcome of one stage for one model."""

    model: str
    metric: str
    tried: Sequence[Tried]  # the shipped setting first
    best: Sequence[Tried]  # from the best
    chosen: Tried

    @property
    def named(self) -> list[tuple[str, Tried]]:
        """What is worth a row, with why; each setting once."""
        roles = {
            "winner": self.best[0],
            "runner-up": self.best[1],
            "shipped": self.tried[0],
            "chosen": self.chosen,
        }
        if "neighbours" in RATINGS[self.model] and self.metric == "rmse":
            roles["best with all"] = next(
                (one for one in self.best if one.setting["neighbours"] == "all"), self.chosen
            )
        which = list(dict.fromkeys(id(one) for one in roles.values()))
        rows = {key: [role for role, one in roles.items() if id(one) == key] for key in which}
        return [(", ".join(names), roles[names[0]]) for names in rows.values()]


def main() -> None:
    """Search what the arguments ask for."""
    asked = _arguments()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kept = list(outer(read(asked.data), read("sample"), asked.seed))
    parts = inner(kept, asked.seed + 1)
    checks = [part for check in range(CHECKS) for part in inner(kept, asked.seed + 2 + check)]
    print(f"{_title(asked, parts)}\n")
    for name in asked.models:
        ratings = search(name, parts, asked.trials, asked.seed)
        print(
            f"## {name}\n\n{grid(RATINGS[name])}\n\n{ratings_table(ratings, checks)}\n", flush=True
        )
        if name in LISTS:
            lists = order(name, ratings.chosen.setting, parts)
            print(f"{grid(LISTS[name])}\n\n{lists_table(lists, checks)}\n", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The search behind the tuned preset.")
    parser.add_argument(
        "--data", default=str(DATA), help="a folder that `ingest` knows, with times"
    )
    parser.add_argument("--trials", type=int, default=40, help="settings tried a model for RMSE")
    parser.add_argument(
        "--seed", type=int, default=20261123, help="as quality.py's: its test part is then unseen"
    )
    parser.add_argument("--models", nargs="+", choices=PERSONAL, default=list(PERSONAL))
    asked = parser.parse_args()
    if not Path(asked.data).is_dir():
        parser.error(f"--data: there is no folder {asked.data}; name one with ratings")
    if asked.trials < 2:
        parser.error("--trials: at least 2, for there to be a runner-up")
    return asked


def outer(ratings: Ratings, sample: Ratings, seed: int) -> Iterator[tuple[str, Ratings]]:
    """What the search may see of each data set."""
    by_time, _ = next(folds(ratings, "time", seed, 1))
    at_random, _ = next(folds(ratings, "random", seed, 1))
    yield "time", by_time.keep(np.isin(_cells(by_time), _cells(at_random)))
    yield "random", at_random.keep(np.isin(_cells(at_random), _cells(by_time)))
    yield (
        "sample",
        next(folds(sample, "time", seed, 1))[0],
    )  # it has no times: a random fifth of each user's


def _cells(ratings: Ratings) -> Ints:
    """Each rating's place in the matrix, (n_ratings,), unique."""
    return ratings.user_of_rating() * np.int64(ratings.n_items) + ratings.matrix.indices


def inner(kept: Sequence[tuple[str, Ratings]], seed: int) -> tuple[Part, ...]:
    """Each data set cut once more."""
    cuts = [(name, ratings, hold_out(ratings, seed)) for name, ratings in kept]
    return tuple(
        Part(name, ratings.keep(~held), ratings.keep(held)) for name, ratings, held in cuts
    )


def measured(name: str, params: Knobs | None, part: Part, seeds: Sequence[int]) -> Metrics:
    """Figures of one model on one part, means over fits with these seeds."""
    train, each = part.train, []
    for seed in seeds:
        judged = alone(name, fit(name, train, params, seed), train, part.held)
        each.append(measure(judged, Catalogue(train.matrix, train.genres), seed))
    return {metric: float(np.mean([one[metric] for one in each])) for metric in each[0]}


def attempt(
    name: str, setting: Setting, parts: Sequence[Part], fixed: Setting | None = None
) -> Tried:
    """The shipped knobs, but for this setting, on every part."""
    shipped = getattr(PRESETS["tuned"], name)
    params = type(shipped)(**{**shipped.model_dump(), **(fixed or {}), **setting})
    seeds = range(FIT_SEEDS.get(name, 1))
    return Tried(
        setting, tuple(measured(name, params, part, seeds) for part in parts), tuple(parts)
    )


def shipped_setting(name: str, space: Space) -> dict[str, Any]:
    """The shipped values of these knobs."""
    return {knob: getattr(getattr(PRESETS["tuned"], name), knob) for knob in space}


def search(name: str, parts: Sequence[Part], trials: int, seed: int) -> Found:
    """The knobs of RMSE, by TPE over the grid; half of the trials listen to all neighbours, where there are any."""
    whole = shipped_setting(name, RATINGS[name])
    tried = {tuple(whole.values()): attempt(name, whole, parts, UNHEARD.get(name))}
    spaces = _branches(RATINGS[name])
    for space in spaces:
        each = trials // len(spaces)
        study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(each // 4, 1))
        )
        if all(value in space[knob] for knob, value in whole.items()):
            study.enqueue_trial(_as_drawn(whole, space))
        study.optimize(
            partial(_loss, name=name, parts=parts, space=space, tried=tried), n_trials=each
        )
    return _found(name, "rmse", list(tried.values()), lambda _one: True)


def _loss(
    evaluate_file: optuna.Trial,
    *,
    name: str,
    parts: Sequence[Part],
    space: Space,
    tried: dict[tuple[Any, ...], Tried],
) -> float:
    """What optuna minimises; `tried` remembers, since on a grid a setting can be drawn twice."""
    setting = _draw(evaluate_file, space)
    key = tuple(setting.values())
    if key not in tried:
        tried[key] = attempt(name, setting, parts, UNHEARD.get(name))
        _say(f"{name} {len(tried)}  {tried[key].relative('rmse'):.4f}  {_text(setting)}")
    return tried[key].loss("rmse")


def _branches(space: Space) -> list[Space]:
    """All neighbours, then k of them, so that either is searched as long; other spaces stay whole."""
    if "neighbours" not in space:
        return [space]
    every, *some = space["neighbours"]
    return [{**space, "neighbours": (every,)}, {**space, "neighbours": tuple(some)}]


def order(name: str, fixed: Setting, parts: Sequence[Part]) -> Found:
    """The knob of lists at every value, with the others fixed; user_user must beat popular, item_item does by far."""
    ((knob, values),) = LISTS[name].items()
    shipped = shipped_setting(name, LISTS[name])[knob]
    tried = []
    for value in sorted(
        values, key=lambda value: value != shipped
    ):  # stable: the shipped one first
        tried.append(attempt(name, {**fixed, knob: value}, parts))
        _say(f"{name} {knob} {value}  {tried[-1].relative(f'ndcg@{N}'):.4f}")
    return _found(name, f"ndcg@{N}", tried, lambda one: one.beats_popular)


def _draw(evaluate_file: optuna.Trial, space: Space) -> dict[str, Any]:
    """One value a knob: numbers by place in their row, so that neighbours in it are near for the sampler too."""
    return {
        knob: values[evaluate_file.suggest_int(knob, 0, len(values) - 1)]
        if _ordered(values)
        else evaluate_file.suggest_categorical(knob, values)
        for knob, values in space.items()
    }


def _as_drawn(setting: Setting, space: Space) -> dict[str, Any]:
    """A setting as `_draw` would have got it."""
    return {
        knob: space[knob].index(value) if _ordered(space[knob]) else value
        for knob, value in setting.items()
    }


def _ordered(values: Sequence[Any]) -> bool:
    return not any(isinstance(value, str) for value in values)


def _found(
    name: str, metric: str, tried: Sequence[Tried], allowed: Callable[[Tried], bool]
) -> Found:
    """The best of those allowed, of all where none is, and what is chosen by the rule in the docstring of this file."""
    best = sorted(tried, key=lambda one: (not allowed(one), one.loss(metric)))
    enough = best[0].loss(metric) + MARGIN[metric] * abs(best[0].loss(metric))
    near = [one for one in best if one.loss(metric) <= enough and allowed(one) == allowed(best[0])]
    whole = [one for one in near if one.setting.get("neighbours", "all") == "all"]
    chosen = tried[0] if tried[0] in near else (whole or near)[0]
    return Found(name, metric, tried, best, chosen)


def ratings_table(found: Found, checks: Sequence[Part]) -> str:
    """A row a named setting: RMSE by data set, its mean relative to bias, and that mean on further cuts."""
    parts = found.chosen.parts
    lines = [["bias", "", *(f"{part.bias['rmse']:.4f}" for part in parts), "1.0000", "1.0000"]]
    for role, one in found.named:
        again = attempt(found.model, one.setting, checks, UNHEARD.get(found.model))
        ahead = [f"{each.relative('rmse'):.4f}" for each in (one, again)]
        lines.append(
            [role, _text(one.setting), *(f"{each['rmse']:.4f}" for each in one.figures), *ahead]
        )
    head = ["", "setting", *(f"RMSE {part.name}" for part in parts), "relative", "again"]
    return f"{len(found.tried)} different settings.\n\n{_markdown(head, lines)}"


def lists_table(found: Found, checks: Sequence[Part]) -> str:
    """A row a value: NDCG and precision by data set, means relative to popular; named ones on further cuts as well."""
    ndcg, precision = f"ndcg@{N}", f"precision@{N}"
    parts = found.chosen.parts
    beside = [f"{part.popular[ndcg]:.4f} / {part.popular[precision]:.4f}" for part in parts]
    lines = [["popular", "", *beside, "1.000", "1.000", "", ""]]
    knob = next(iter(LISTS[found.model]))
    rows = sorted(found.tried, key=lambda one: one.setting[knob])
    named = {id(one): role for role, one in found.named}
    shipped = shipped_setting(found.model, {**RATINGS[found.model], **LISTS[found.model]})
    if shipped != found.tried[0].setting:  # its other knobs are not the ones fixed here
        rows.append(attempt(found.model, shipped, parts))
        named[id(rows[-1])] = "shipped, every knob"
    for one in rows:
        role = named.get(id(one), "")
        again = attempt(found.model, one.setting, checks) if role else None
        lines.append([
            role, str(one.setting[knob]),
            *(f"{each[ndcg]:.4f} / {each[precision]:.4f}" for each in one.figures),
            f"{one.relative(ndcg):.3f}", f"{one.relative(precision):.3f}",
            f"{again.relative(ndcg):.3f}" if again else "",
            _yes(one.beats_popular and (again is None or again.beats_popular)),
        ])  # fmt: skip
    head = [
        "",
        knob,
        *(part.name for part in parts),
        "NDCG",
        "precision",
        "NDCG again",
        "beats popular everywhere",
    ]
    fixed = {key: value for key, value in found.chosen.setting.items() if key != knob}
    return f"NDCG@{N} / precision@{N}, with {_text(fixed)}.\n\n{_markdown(head, lines)}"


def grid(space: Space) -> str:
    """The values searched, a line a knob."""
    return "\n".join(f"- `{knob}`: {', '.join(map(str, values))}" for knob, values in space.items())


def _title(asked: argparse.Namespace, parts: Sequence[Part]) -> str:
    sizes = "; ".join(
        f"{part.name} {part.train.n_ratings:,} / {part.held.n_ratings:,}" for part in parts
    )
    return (
        f"Search over {Path(asked.data).name} and the sample, seed {asked.seed}, {asked.trials} trials a model. "
        f"Ratings fitted on / measured on: {sizes}. `relative`: mean over data sets, to bias or popular; "
        f"`again`: on {CHECKS} further cuts."
    )


def _text(setting: Setting) -> str:
    return ", ".join(f"{knob} {value}" for knob, value in setting.items())


def _yes(true: bool) -> str:
    return "yes" if true else "no"


if __name__ == "__main__":
    main()
