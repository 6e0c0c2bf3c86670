"""A whole night in a twentieth of a second: only the models are replaced, by fixed arithmetic."""

import os
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import BytesIO, TextIOWrapper
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from batch import cli
from batch.job import executors, refresh, restored, steps
from batch.models import PUBLISHED, REFERENCE, kept_arrays
from batch.models.similar_films import SimilarFilms
from batch.ranking.evaluate import Evaluation
from batch.ranking.mask import Mask
from batch.ranking.metric_names import with_cut
from batch.ranking.ranked_block import RankedBlock
from batch.ratings import NO_PAIRS, NOBODY, Ints, Pairs, Ratings


@dataclass(frozen=True)
class Fixed:
    """Replaces every fitted model; its scores are remainders of user and film numbers."""

    ratings: Ratings
    mask: Mask | None = None

    @property
    def tie_order(self) -> Ints:
        return np.arange(self.ratings.n_items)

    half_life = None

    @property
    def popularity(self) -> Any:
        """Rating counts, (n_items,)."""
        return self.ratings.item_counts().astype(np.float64)

    models: Mapping[str, Any] = field(default_factory=dict)
    learnt = None

    def rank_users(
        self, names: Sequence[str], users: Ints, n: int, _asked: Pairs = NO_PAIRS, spare: int = 0
    ) -> dict[str, RankedBlock]:
        """The same unseen films, n and spare ones, to each model's users, (b,), every time."""
        films = np.arange(self.ratings.n_items)
        said = (users[:, None] * 7 + films * 13) % 101 + films / 1000  # (b, n_items), no two alike
        said[
            (self.mask or Mask.empty(self.ratings)).excluded(self.ratings, users).toarray() > 0
        ] = -1.0
        length = n + spare
        best = np.argsort(-said, axis=1)[:, :length]
        score = np.full((len(users), length), np.nan)
        score[:, : best.shape[1]] = np.take_along_axis(said, best, axis=1)
        listed = np.full((len(users), length), NOBODY)
        listed[:, : best.shape[1]] = best
        listed[~(score >= 0)] = NOBODY  # nothing unseen is left
        stars, support = np.full_like(score, 3.5), np.ones_like(score)
        answer = RankedBlock(listed, score, stars, support, np.empty(0), spare)
        return dict.fromkeys(names, answer)


@contextmanager
def _one_by_one(_config: object) -> Iterator[Any]:
    """An engine that needs no compiler."""

    def answers(
        ensemble: Fixed, names: Sequence[str], n: int, spare: int, blocks: Iterable[Ints]
    ) -> Iterator[Any]:
        for users in blocks:
            yield users, ensemble.rank_users(names, users, n, spare=spare)

    yield answers


def figures(_ratings: Ratings, _config: object) -> Evaluation:
    """What `evaluate` would say of models that are better than their baselines."""
    rmse = {"rmse": 0.9, "rmse_low": 0.85, "rmse_high": 0.95, "raters": 25.0}
    hits = {"precision@5": 0.2, "precision_low@5": 0.15, "precision_high@5": 0.25, "users": 25.0}
    values = with_cut("own", rmse | hits)
    return Evaluation(dict.fromkeys((*PUBLISHED, *REFERENCE), values), "own", None, None, 1)


def _assembled(
    ratings: Ratings, _models: object, _weights: object, mask: Mask, _diversity: float
) -> Fixed:
    return Fixed(ratings, mask)


def _restored(
    _base: object, _kept: object, ratings: Ratings, _users: Ints, mask: Mask, _diversity: float
) -> Fixed:
    return Fixed(ratings, mask)


def _next_films(
    ratings: Ratings, _liked_from: float, n: int, order: Ints, excluded: Ints
) -> SimilarFilms:
    """The films after each film, best first; by chance each pair is liked by one user or two."""
    films = np.arange(ratings.n_items)
    others = (films[:, None] + np.arange(1, n + 1)) % len(films)  # (n_items, n)
    others = others[:, : max(len(films) - 1, 0)]
    listed = np.full_like(others, NOBODY)
    for film, candidates in enumerate(others):
        allowed = candidates[~np.isin(candidates, excluded)]
        listed[film, : len(allowed)] = allowed
    scores = np.broadcast_to(1 / (2.0 + np.arange(others.shape[1])), others.shape)
    return SimilarFilms(listed, scores, 1 + (others + films[:, None]) % 2)


def by_fixed_arithmetic(patch: pytest.MonkeyPatch) -> None:
    """From here on a night fits nothing: what it reads, writes, checks and publishes is as ever."""
    patch.setattr(steps, "measure", figures)
    patch.setattr(steps, "fit", lambda _name, ratings, *_, **_chosen: Fixed(ratings))
    patch.setattr(
        steps, "assemble", lambda ratings, _models, _weights, mask, _: Fixed(ratings, mask)
    )
    patch.setattr(kept_arrays, "arrays_to_keep", lambda *_: {"fixed": {"w": np.ones(3)}})
    patch.setattr(steps, "similar_films", _next_films)
    patch.setattr(restored, "require_enough", lambda _arrays: None)
    patch.setattr(refresh, "restored_ensemble", _restored)
    patch.setattr(executors, "open_executor", _one_by_one)
    patch.setattr(steps, "block_size", lambda *_: 13)  # of 25 users: two transactions


def command(*arguments: str) -> int:
    """Run `recbatch ARGUMENTS` in this process; returns the exit code."""
    was = sys.argv, [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    sys.argv = ["recbatch", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = was[0]
        signal.signal(signal.SIGTERM, was[1][0])
        signal.signal(signal.SIGINT, was[1][1])
    return 0


def program(folder: Path, *arguments: str, **environ: str) -> CompletedProcess[str]:
    """Run `recbatch ARGUMENTS` in a folder, in this process, with no other settings than these.

    A process of its own would take a second to start, four where models are fitted.
    """
    encoding = environ.get("PYTHONIOENCODING", "utf-8")
    out, err = (TextIOWrapper(BytesIO(), encoding, write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        for name in list(os.environ):
            if name.startswith("RECBATCH_"):
                patch.delenv(name)
        for name, value in environ.items():
            patch.setenv(name, value)
        code = command(*arguments)
    return CompletedProcess(arguments, code, _text(out), _text(err))


def _text(stream: TextIOWrapper) -> str:
    """All that was written to a stream."""
    stream.seek(0)
    return stream.read()
