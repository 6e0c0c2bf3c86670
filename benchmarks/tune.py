"""Ratings -> knobs: the seeded search behind `models.preset: tuned`, as Markdown tables.

    pip install --constraint constraints.txt --editable '.[bench]'
    python benchmarks/tune.py
    python benchmarks/tune.py --models user_user --trials 10

The default is MovieLens ml-latest-small and the sample; docs/tuning.md has the results.

Three data sets: ml-latest-small by time, the same at random without times, and the
generated sample. Of each, a fifth is set aside as quality.py does it with the same seed,
and not used here: of ml-latest-small both what `own` holds out and the first fold of
`random`, from either data set, since what one sets aside is otherwise in the other. (The
five folds of `random` together are all ratings: only the first of them is unused.) The
rest is cut once more, by `hold_out_own`: settings are fitted on one part and measured on the
other.

The objective is RMSE relative to `bias` for ratings, and NDCG@5 relative to `popular` for
lists; both are means over the data sets. The knobs of lists do not change RMSE, so the
search has two stages: optuna's TPE searches the knobs of RMSE, half of its trials with all
neighbours, then every value of the knob of lists is tried with those fixed. The shipped
setting is the first one tried.

The best of many is partly luck. So the choice is the shipped setting unless the best is
better by more than MARGIN, and otherwise the best with all neighbours unless that is worse
by more; and the settings in the table are measured again on inner cuts with seeds that the
search did not use. By time there is only one cut.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from batch.models import PERSONAL, fit
from batch.params import PRESETS, Knobs
from batch.ranking.hold_out import hold_out_own
from batch.ranking.metrics import Catalogue, Metrics, measure
from batch.ratings import Ints, Ratings
from quality_data import MOVIELENS, folds, read
from quality_measure import N, alone, log
from quality_tables import markdown

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
"""The knobs of RMSE. Numbers are in ascending order, which the sampler uses."""
LISTS: Mapping[str, Space] = {
    "user_user": {"support_weight": (0, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 8, 12, 20)},
    "item_item": {
        "learnt_ridge": (0, 30, 100, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000, 10000)
    },
}
"""The knob of lists, tried at every value."""
WITHOUT_LISTS = {"item_item": {"learnt_ridge": 0}}
"""Set while RMSE is searched, which does not depend on it: that halves the time."""
FIT_SEEDS = {"neural": 2}
"""Number of fits that are averaged where a fit is random."""
MARGIN = {"rmse": 0.002, f"ndcg@{N}": 0.02}
"""Share by which a setting must be better to be preferred; smaller differences depend on which
ratings were held out."""
CHECKS = 2
"""Number of further inner cuts."""


@dataclass(frozen=True)
class Part:
    """One inner cut of one data set, with the metrics of the baselines."""

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
class Trial:
    """A setting, and its metrics on every part."""

    setting: Setting
    metrics: tuple[Metrics, ...]
    parts: tuple[Part, ...]

    def relative(self, metric: str) -> float:
        """Mean over parts of a metric relative to a baseline: RMSE to bias, others to popular."""
        ratios = []
        for metrics, part in zip(self.metrics, self.parts, strict=True):
            baseline = part.bias if metric == "rmse" else part.popular
            ratios.append(metrics[metric] / baseline[metric])
        return float(np.mean(ratios))

    def loss(self, metric: str) -> float:
        """The relative metric with a sign by which lower is better."""
        return self.relative(metric) if metric == "rmse" else -self.relative(metric)

    @property
    def beats_popular(self) -> bool:
        """Whether its lists are more precise on every part."""
        name = f"precision@{N}"
        pairs = zip(self.metrics, self.parts, strict=True)
        return all(metrics[name] > part.popular[name] for metrics, part in pairs)


@dataclass(frozen=True)
class Stage:
    """The outcome of one stage for one model."""

    model: str
    metric: str
    trials: Sequence[Trial]  # the shipped setting first
    best: Sequence[Trial]  # sorted, the best first
    chosen: Trial

    @property
    def named(self) -> list[tuple[str, Trial]]:
        """The trials of the table with their roles; each trial once."""
        roles = {
            "winner": self.best[0],
            "runner-up": self.best[1],
            "shipped": self.trials[0],
            "chosen": self.chosen,
        }
        if "neighbours" in RATINGS[self.model] and self.metric == "rmse":
            with_all = [trial for trial in self.best if trial.setting["neighbours"] == "all"]
            roles["best with all"] = with_all[0] if with_all else self.chosen
        rows: dict[int, tuple[list[str], Trial]] = {}
        for role, trial in roles.items():
            names, _ = rows.setdefault(id(trial), ([], trial))
            names.append(role)
        return [(", ".join(names), trial) for names, trial in rows.values()]


def main() -> None:
    """Search the models that the arguments name."""
    arguments = _arguments()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data_sets = list(outer(read(arguments.data), read("sample"), arguments.seed))
    parts = inner(data_sets, arguments.seed + 1)
    checks = [
        part for check in range(CHECKS) for part in inner(data_sets, arguments.seed + 2 + check)
    ]
    print(f"{_title(arguments, parts)}\n")
    for name in arguments.models:
        ratings = search(name, parts, arguments.trials, arguments.seed)
        print(f"## {name}\n\n{grid(RATINGS[name])}\n\n{ratings_table(ratings, checks)}\n")
        sys.stdout.flush()
        if name in LISTS:
            lists = try_all(name, ratings.chosen.setting, parts)
            print(f"{grid(LISTS[name])}\n\n{lists_table(lists, checks)}\n", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The search behind the tuned preset.")
    parser.add_argument(
        "--data", default=str(MOVIELENS), help="a folder that `ingest` accepts, with times"
    )
    parser.add_argument(
        "--trials", type=int, default=40, help="settings tried for the RMSE of a model"
    )
    parser.add_argument(
        "--seed", type=int, default=20261123, help="that of quality.py keeps its test part unused"
    )
    parser.add_argument("--models", nargs="+", choices=PERSONAL, default=list(PERSONAL))
    arguments = parser.parse_args()
    if not Path(arguments.data).is_dir():
        parser.error(f"--data: there is no folder {arguments.data}; name one with ratings")
    if arguments.trials < 2:
        parser.error("--trials: at least 2, so that there is a runner-up")
    return arguments


def outer(ratings: Ratings, sample: Ratings, seed: int) -> Iterator[tuple[str, Ratings]]:
    """The ratings of each data set that the search may use."""
    by_time, _ = next(folds(ratings, "own", seed))
    at_random, _ = next(folds(ratings, "random", seed))
    yield "time", by_time.keep(np.isin(_cells(by_time), _cells(at_random)))
    yield "random", at_random.keep(np.isin(_cells(at_random), _cells(by_time)))
    # The sample has no times: a random fifth of each user's ratings is set aside.
    of_sample, _ = next(folds(sample, "own", seed))
    yield "sample", of_sample


def _cells(ratings: Ratings) -> Ints:
    """A unique number for each rating's cell, (n_ratings,)."""
    return ratings.user_of_rating() * np.int64(ratings.n_items) + ratings.matrix.indices


def inner(data_sets: Sequence[tuple[str, Ratings]], seed: int) -> tuple[Part, ...]:
    """Each data set cut once more."""
    parts = []
    for name, ratings in data_sets:
        is_held = hold_out_own(ratings, ratings.n_users, seed).removed
        parts.append(Part(name, ratings.keep(~is_held), ratings.keep(is_held)))
    return tuple(parts)


def measured(name: str, params: Knobs | None, part: Part, seeds: Sequence[int]) -> Metrics:
    """Metrics of one model on one part, means over fits with these seeds."""
    train = part.train
    catalogue = Catalogue(train.matrix, train.genres)
    of_fits = []
    for seed in seeds:
        judged = alone(name, fit(name, train, params, seed), train, part.held)
        of_fits.append(measure(judged, catalogue, seed))
    return {
        metric: float(np.mean([metrics[metric] for metrics in of_fits])) for metric in of_fits[0]
    }


def attempt(
    name: str, setting: Setting, parts: Sequence[Part], fixed: Setting | None = None
) -> Trial:
    """The shipped knobs with this setting, on every part."""
    shipped = getattr(PRESETS["tuned"], name)
    knobs = {**shipped.model_dump(), **(fixed or {}), **setting}
    params = type(shipped)(**knobs)
    seeds = range(FIT_SEEDS.get(name, 1))
    metrics = tuple(measured(name, params, part, seeds) for part in parts)
    return Trial(setting, metrics, tuple(parts))


def shipped_setting(name: str, space: Space) -> dict[str, Any]:
    """The shipped values of these knobs."""
    shipped = getattr(PRESETS["tuned"], name)
    return {knob: getattr(shipped, knob) for knob in space}


def search(name: str, parts: Sequence[Part], n_trials: int, seed: int) -> Stage:
    """Search the knobs of RMSE by TPE over the grid, half of the trials with all neighbours."""
    shipped = shipped_setting(name, RATINGS[name])
    fixed = WITHOUT_LISTS.get(name)
    trials = {tuple(shipped.values()): attempt(name, shipped, parts, fixed)}
    spaces = _branches(RATINGS[name])
    n_in_space = n_trials // len(spaces)
    for space in spaces:
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(n_in_space // 4, 1))
        study = optuna.create_study(sampler=sampler)
        if all(value in space[knob] for knob, value in shipped.items()):
            study.enqueue_trial(_as_drawn(shipped, space))
        loss = partial(_loss, name=name, parts=parts, space=space, trials=trials)
        study.optimize(loss, n_trials=n_in_space)
    return _stage(name, "rmse", list(trials.values()), lambda _trial: True)


def _loss(
    drawn: optuna.Trial,
    *,
    name: str,
    parts: Sequence[Part],
    space: Space,
    trials: dict[tuple[Any, ...], Trial],
) -> float:
    """What optuna minimises; settings in `trials` are not fitted again."""
    setting = _draw(drawn, space)
    key = tuple(setting.values())
    if key not in trials:
        trials[key] = attempt(name, setting, parts, WITHOUT_LISTS.get(name))
        log(f"{name} {len(trials)}  {trials[key].relative('rmse'):.4f}  {_text(setting)}")
    return trials[key].loss("rmse")


def _branches(space: Space) -> list[Space]:
    """A space with all neighbours and one with k of them; one space where that is no knob."""
    if "neighbours" not in space:
        return [space]
    everyone, *numbers = space["neighbours"]
    return [{**space, "neighbours": (everyone,)}, {**space, "neighbours": tuple(numbers)}]


def try_all(name: str, fixed: Setting, parts: Sequence[Part]) -> Stage:
    """Try every value of the knob of lists, with the other knobs fixed.

    The choice must beat popular; for item_item every value does.
    """
    ((knob, values),) = LISTS[name].items()
    shipped = shipped_setting(name, LISTS[name])[knob]
    trials = []
    # The shipped value first; the sort is stable.
    for value in sorted(values, key=lambda value: value != shipped):
        trial = attempt(name, {**fixed, knob: value}, parts)
        trials.append(trial)
        log(f"{name} {knob} {value}  {trial.relative(f'ndcg@{N}'):.4f}")
    return _stage(name, f"ndcg@{N}", trials, lambda trial: trial.beats_popular)


def _draw(drawn: optuna.Trial, space: Space) -> dict[str, Any]:
    """One value of each knob; numbers by position, so that the sampler uses their order."""
    setting = {}
    for knob, values in space.items():
        if _ordered(values):
            setting[knob] = values[drawn.suggest_int(knob, 0, len(values) - 1)]
        else:
            setting[knob] = drawn.suggest_categorical(knob, values)
    return setting


def _as_drawn(setting: Setting, space: Space) -> dict[str, Any]:
    """The optuna parameters for which `_draw` returns this setting."""
    return {
        knob: space[knob].index(value) if _ordered(space[knob]) else value
        for knob, value in setting.items()
    }


def _ordered(values: Sequence[Any]) -> bool:
    return not any(isinstance(value, str) for value in values)


def _stage(
    name: str, metric: str, trials: Sequence[Trial], allowed: Callable[[Trial], bool]
) -> Stage:
    """Sort the trials, allowed ones first, and choose by the rule in the module's docstring."""
    best = sorted(trials, key=lambda trial: (not allowed(trial), trial.loss(metric)))
    lowest = best[0].loss(metric)
    limit = lowest + MARGIN[metric] * abs(lowest)
    near = [
        trial
        for trial in best
        if trial.loss(metric) <= limit and allowed(trial) == allowed(best[0])
    ]
    with_all = [trial for trial in near if trial.setting.get("neighbours", "all") == "all"]
    chosen = trials[0] if trials[0] in near else (with_all or near)[0]
    return Stage(name, metric, trials, best, chosen)


def ratings_table(stage: Stage, checks: Sequence[Part]) -> str:
    """A row for each named setting: RMSE by data set and relative to bias, also on more cuts."""
    parts = stage.chosen.parts
    lines = [["bias", "", *(f"{part.bias['rmse']:.4f}" for part in parts), "1.0000", "1.0000"]]
    for role, trial in stage.named:
        again = attempt(stage.model, trial.setting, checks, WITHOUT_LISTS.get(stage.model))
        rmses = [f"{metrics['rmse']:.4f}" for metrics in trial.metrics]
        relative = [f"{trial.relative('rmse'):.4f}", f"{again.relative('rmse'):.4f}"]
        lines.append([role, _text(trial.setting), *rmses, *relative])
    head = ["", "setting", *(f"RMSE {part.name}" for part in parts), "relative", "again"]
    return f"{len(stage.trials)} different settings.\n\n{markdown(head, lines)}"


def lists_table(stage: Stage, checks: Sequence[Part]) -> str:
    """A row for each value: NDCG and precision by data set, and relative to popular.

    Named settings are measured on further cuts too.
    """
    ndcg, precision = f"ndcg@{N}", f"precision@{N}"
    parts = stage.chosen.parts
    popular = [f"{part.popular[ndcg]:.4f} / {part.popular[precision]:.4f}" for part in parts]
    lines = [["popular", "", *popular, "1.000", "1.000", "", ""]]
    knob = next(iter(LISTS[stage.model]))
    trials = sorted(stage.trials, key=lambda trial: trial.setting[knob])
    roles = {id(trial): role for role, trial in stage.named}
    shipped = shipped_setting(stage.model, {**RATINGS[stage.model], **LISTS[stage.model]})
    if shipped != stage.trials[0].setting:  # its other knobs are not the ones fixed here
        trials.append(attempt(stage.model, shipped, parts))
        roles[id(trials[-1])] = "shipped, every knob"
    for trial in trials:
        role = roles.get(id(trial), "")
        again = attempt(stage.model, trial.setting, checks) if role else None
        line = [role, str(trial.setting[knob])]
        line += [f"{metrics[ndcg]:.4f} / {metrics[precision]:.4f}" for metrics in trial.metrics]
        line += [f"{trial.relative(ndcg):.3f}", f"{trial.relative(precision):.3f}"]
        line.append(f"{again.relative(ndcg):.3f}" if again else "")
        beats_popular = trial.beats_popular and (again is None or again.beats_popular)
        line.append("yes" if beats_popular else "no")
        lines.append(line)
    head = ["", knob, *(part.name for part in parts)]
    head += ["NDCG", "precision", "NDCG again", "beats popular everywhere"]
    fixed = {key: value for key, value in stage.chosen.setting.items() if key != knob}
    return f"NDCG@{N} / precision@{N}, with {_text(fixed)}.\n\n{markdown(head, lines)}"


def grid(space: Space) -> str:
    """The values searched, one line for each knob."""
    return "\n".join(f"- `{knob}`: {', '.join(map(str, values))}" for knob, values in space.items())


def _title(arguments: argparse.Namespace, parts: Sequence[Part]) -> str:
    sizes = [f"{part.name} {part.train.n_ratings:,} / {part.held.n_ratings:,}" for part in parts]
    return (
        f"Search over {Path(arguments.data).name} and the sample, seed {arguments.seed}, "
        f"{arguments.trials} trials a model. "
        f"Ratings fitted on / measured on: {'; '.join(sizes)}. "
        f"`relative`: mean over data sets, to bias or popular; "
        f"`again`: on {CHECKS} further cuts."
    )


def _text(setting: Setting) -> str:
    return ", ".join(f"{knob} {value}" for knob, value in setting.items())


if __name__ == "__main__":
    main()
