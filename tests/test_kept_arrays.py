"""What a night keeps of its models, restored for newer ratings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from batch.models import Model
from batch.models.ease import ThroughItems, ThroughUsers
from batch.models.features import Learnt
from batch.models.kept_arrays import (
    Arrays,
    NotKeptError,
    Restored,
    arrays_to_keep,
    require_enough,
    restore,
)
from batch.models.networks import PerMovie
from batch.params import PRESETS, Models
from batch.ranking.ensemble import assemble
from batch.ranking.evaluate import fit_all
from batch.ratings import Ints, Ratings
from batch.store.artifacts import load_weights, save_weights
from reference import ratings_of
from test_ensemble import QUICK, generated

MODELS = ("user_user", "item_item", "neural", "blend")
SOME = np.array([2, 5, 11])


def numbered(ratings: Ratings) -> Ratings:
    """The same with ids, which are not in order of the rows."""
    return replace(
        ratings,
        user_ids=100 + np.arange(ratings.n_users)[::-1],
        movie_ids=500 + np.arange(ratings.n_items)[::-1],
        genre_ids=7 + np.arange(ratings.genres.shape[1])[::-1],
    )


def kept(ratings: Ratings, folder: Path, params: Models = QUICK) -> dict[str, Arrays]:
    """The arrays of models of these ratings, from their file."""
    models = fit_all(ratings, params, 0, epochs=3)
    ensemble = assemble(ratings, models, None)
    file = folder / "night.safetensors"
    arrays = arrays_to_keep(ratings, models, ensemble.learnt, params, 0)
    return dict(load_weights(file, save_weights(file, arrays)))


def restored(arrays: dict[str, Arrays], ratings: Ratings, users: Ints) -> Restored:
    return restore(arrays, ratings, users, None)


@pytest.mark.parametrize(("shape", "kind"), [((20, 60), ThroughUsers), ((60, 30), ThroughItems)])
@pytest.mark.parametrize("params", [QUICK, PRESETS["plain"]], ids=["tuned", "plain"])
def test_restored_models_list_what_the_night_did(
    params: Models, shape: tuple[int, int], kind: type, tmp_path: Path
) -> None:
    """With the same ratings, lists and predictions of users are those of the fitted models.

    The network's are those of rows that are solved anew.
    """
    ratings = numbered(generated(3, *shape))
    found = restored(kept(ratings, tmp_path, params), ratings, SOME)
    assert isinstance(found.learnt.liking.learnt, kind)
    models: dict[str, Model] = dict(fit_all(ratings, params, 0, epochs=3))
    models["neural"] = found.models["neural"]
    for name, model in models.items():
        rating = found.models[name].score(SOME).rating
        np.testing.assert_allclose(rating, model.score(SOME).rating, rtol=0, atol=1e-6)
    whole = assemble(ratings, models, None).rank_users(MODELS, SOME, 5)
    again = assemble(ratings, found.models, None, learnt=found.learnt).rank_users(MODELS, SOME, 5)
    for name in MODELS:
        np.testing.assert_array_equal(again[name].listed, whole[name].listed)
        np.testing.assert_allclose(again[name].score, whole[name].score, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(20, 60), (60, 30)])
def test_arrays_follow_users_films_and_genres(shape: tuple[int, int], tmp_path: Path) -> None:
    """A new user, film and genre that come first, and a film that is gone, move no weight."""
    before = numbered(generated(4, *shape))
    arrays = kept(before, tmp_path)
    gone = before.n_items - 1
    stars = np.full((before.n_users + 1, before.n_items), np.nan)
    dense = before.matrix.toarray()
    stars[1:, 1:] = np.where(dense, dense, np.nan)[:, :gone]
    stars[0, [0, 3, 4]] = 5.0
    genres = np.zeros((before.n_items, before.genres.shape[1] + 1))
    genres[1:, 1:] = before.genres[:gone]
    now = replace(
        ratings_of(stars, genres=genres),
        user_ids=np.append(1, before.user_ids),
        movie_ids=np.append(2, before.movie_ids[:gone]),
        genre_ids=np.append(3, before.genre_ids),
    )
    users = np.append(0, SOME + 1)
    then = restored(arrays, before, SOME)
    found = restored(arrays, now, users)
    for name in Learnt._fields:
        # without the film that is gone, whose ratings counted before
        dense_profiles = getattr(then.learnt, name).profiles(SOME).toarray()
        dense_profiles[:, gone] = 0.0
        profiles = sparse.csr_array(dense_profiles)
        expected = getattr(then.learnt, name).learnt.score(profiles)[:, :gone]
        scores = getattr(found.learnt, name).score(users)
        np.testing.assert_allclose(scores[1:, 1:], expected, rtol=0, atol=1e-6)
        assert np.isfinite(scores).all()
    hidden, hidden_before = (_network(each).hidden for each in (found, then))
    np.testing.assert_allclose(hidden[1:], hidden_before[:gone], rtol=0, atol=1e-12)
    for model in found.models.values():
        assert np.isfinite(model.score(np.array([0])).relevance).any()


def _network(found: Restored) -> PerMovie:
    network = found.models["neural"]
    assert isinstance(network, PerMovie)
    return network


def test_a_changed_user_is_solved_anew(tmp_path: Path) -> None:
    """Someone who turns against a genre is predicted less of it, as by a whole training."""
    before = numbered(generated(5, 40, 50))
    arrays = kept(before, tmp_path)
    stars = before.matrix.toarray()
    stars[stars == 0] = np.nan
    of_genre = before.genres[:, 0] > 0
    stars[7] = np.where(of_genre, 1.0, 5.0)
    now = numbered(ratings_of(stars, genres=before.genres))
    users = np.array([7])
    change = (
        _network(restored(arrays, now, users)).score(users).rating[0]
        - _network(restored(arrays, before, users)).score(users).rating[0]
    )
    assert change[of_genre].mean() < change[~of_genre].mean() - 0.5


def test_the_flattened_network_cannot_be_restored(tmp_path: Path) -> None:
    """Its outputs are the users and films that it was trained on: the message says what to do."""
    ratings = numbered(generated(6, 12, 15))
    neural = QUICK.neural.model_copy(update={"architecture": "flattened"})
    params = PRESETS["tuned"].model_copy(update={"neural": neural})
    with pytest.raises(NotKeptError, match=r"set models\.neural\.architecture to per_movie"):
        require_enough(kept(ratings, tmp_path, params))


def test_a_file_of_an_earlier_version_is_not_enough(tmp_path: Path) -> None:
    """It had the network's weights only, without ids."""
    ratings = numbered(generated(6, 12, 15))
    arrays = kept(ratings, tmp_path)
    require_enough(arrays)
    with pytest.raises(NotKeptError, match="of an earlier version and lacks settings, ids, "):
        require_enough({"neural": arrays["neural"]})
