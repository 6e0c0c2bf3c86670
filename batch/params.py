"""The settings of models and gates, each with unit and reason, and the presets of the models."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

# The limits are what later steps can take: a value refused at the start costs no night.

AtLeastZero = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""The limit is above any real count; from 2^63 on, torch, numba and SQL overflow."""
Share = Annotated[float, Field(ge=0, le=1)]

POPULAR_KEPT = 200
"""Popular films that a run stores, or `publish.top_n` if that is more: they fill short lists."""
LARGEST = 1e6
"""Bound on the size of a rating, a score or a weight: a larger one means that a model diverged."""
SCORE_DECIMALS = 6
"""Scores are published with this many decimals, and are a tie if they agree in all of them.

So rounding noise never decides a list.
"""
LIKED_SHARE = 0.8
"""Unless set, a rating of at least this share of the scale's maximum is liked: 4 of 5 stars."""
MIN_RIDGE = 1e-3
"""Weights of films, or users, that are rated alike cannot be solved below a ridge of 1e-11."""


def _ridge(value: float) -> float:
    if 0 < value < MIN_RIDGE:
        raise ValueError(f"Input should be 0, or at least {MIN_RIDGE:g}")
    return value


Ridge = Annotated[AtLeastZero, AfterValidator(_ridge)]
SupportWeight = Annotated[float, Field(ge=0, le=1e4, allow_inf_nan=False)]
"""The product with ln(1 + support), at most 23 for a billion users, must stay below LARGEST."""
Hidden = Annotated[int, Field(ge=1, le=1024)]
"""A user's weights are solved from a matrix of hidden^2 numbers, 8 MB each at this limit."""
LearningRate = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
"""From about 10,000 on, predicted ratings are not finite."""
Epochs = Annotated[int, Field(ge=1, le=1_000_000)]
"""More would outlast any night."""


class Knobs(BaseModel):
    """Frozen, and an unknown name is an error, so that a misspelt setting is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Neighbourhood(Knobs):
    """Collaborative filtering by neighbours, for `user_user` and `item_item` alike."""

    baseline: Literal["user_mean", "bias"]
    """Deviations are from the user's mean, or (bias) from mu + b_u + b_i."""
    similarity: Literal["cosine", "adjusted_cosine", "pearson", "full_cosine"]
    """Over co-rated cells; in full_cosine, unrated cells are 0. Negative values are kept."""
    overlap_shrinkage: AtLeastZero
    """beta in s = sim * n / (n + beta), n co-rated cells: one gives a cosine of 1.0, noise."""
    support_shrinkage: AtLeastZero
    """lambda added to sum |s|: without it one enthusiastic stranger puts an obscure film first."""
    neighbours: Literal["all"] | Count
    """All, or the k most similar with s > 0: speed, and less noise."""
    support_weight: SupportWeight
    """w in relevance = rating + w * ln(1 + support), stars: 2.3 w for tenfold support."""


class ItemNeighbourhood(Neighbourhood):
    """`item_item` can learn its weights too."""

    learnt_ridge: Ridge
    """Penalty on learnt weights, from 0.001, which order the list; 0 orders it by the formula."""


class Neural(Knobs):
    """Content filtering: a film's genres -> a hidden layer -> one output per user."""

    architecture: Literal["per_movie", "flattened"]
    """per_movie: genres of a film in, its ratings out. flattened: the original form, small data."""
    activation: Literal["none", "relu"]
    """none makes the network a low-rank linear filter."""
    baseline: Literal["none", "bias"]
    """bias adds mu + b_u + b_i, so that the network learns only what genres explain beyond them."""
    hidden: Hidden
    """Units of the hidden layer."""
    learning_rate: LearningRate
    """Adam's step size."""
    weight_decay: AtLeastZero
    """L2 penalty in ratings' worth of squared error: users have fewer ratings than weights."""
    epochs: Epochs
    """At most this many passes over the ratings."""
    patience: Count
    """per_movie stops after this many epochs without a better one; sooner after an early best."""
    batch_size: Count
    """Ratings per step of per_movie."""
    max_weights_mb: Positive
    """flattened is refused above this size of its 32 * n_users * n_items weights, MB."""


class Models(Knobs):
    """The settings of the three models."""

    user_user: Neighbourhood
    item_item: ItemNeighbourhood
    neural: Neural


class Gates(Knobs):
    """Limits that a run must meet to be published, unless overridden; measured in docs/gates.md."""

    min_users_judged: Count = 20
    """A gate whose figures come from fewer users is skipped: a bootstrap needs more."""
    min_users_share: Share = 0.9
    """Users with a list, per model, against the published run: half gone is a broken export."""
    min_rows_share: Share = 0.9
    """Rows, per model, against the published run: short lists are no better than missing ones."""
    min_films_share: Share = 0.5
    """Different films, per model, against the published run: few mean that nothing was learnt."""
    max_rmse_of_bias: AtLeastZero = 1.03
    """RMSE against that of user and film means; a genre network misses them by 2 % on few data."""
    min_precision_of_popular: AtLeastZero = 0.9
    """Precision of personal lists against that of popular films."""
    max_rmse_of_published: AtLeastZero = 1.05
    """RMSE against the published run: shuffled ratings give 1.2, normal nights less than 1."""
    min_precision_of_published: AtLeastZero = 0.8
    """Precision against the published run: normal nights stay above 1, `plain` falls to 0.01."""
    max_churn: Share = 0.5
    """Share of users who keep no film: low on a normal night, near 1 on poisoned ratings."""
    min_outcome_of_popular: AtLeastZero | None = None
    """Precision of the published lists on what was rated since, against that of popular films.

    None: not asked. A site where a day's ratings follow what it shows on top would refuse nights.
    """


_PLAIN_NEIGHBOURHOOD = Neighbourhood(
    baseline="user_mean",
    similarity="cosine",
    overlap_shrinkage=0,
    support_shrinkage=0,
    neighbours="all",
    support_weight=0,
)

PRESETS: dict[str, Models] = {
    "plain": Models(
        user_user=_PLAIN_NEIGHBOURHOOD,
        item_item=ItemNeighbourhood(**_PLAIN_NEIGHBOURHOOD.model_dump(), learnt_ridge=0),
        neural=Neural(
            architecture="per_movie",
            activation="none",
            baseline="none",
            hidden=32,
            learning_rate=0.01,
            weight_decay=1,
            epochs=200,
            patience=5,
            batch_size=4096,
            max_weights_mb=100,
        ),
    ),
    "tuned": Models(
        user_user=Neighbourhood(
            baseline="bias",
            similarity="adjusted_cosine",
            overlap_shrinkage=20,
            support_shrinkage=1,
            neighbours="all",
            support_weight=1.5,
        ),
        item_item=ItemNeighbourhood(
            baseline="bias",
            similarity="full_cosine",
            overlap_shrinkage=0,
            support_shrinkage=1,
            neighbours=320,
            support_weight=0.5,
            learnt_ridge=1000,
        ),
        neural=Neural(
            architecture="per_movie",
            activation="none",
            baseline="bias",
            hidden=32,
            learning_rate=0.003,
            weight_decay=10,
            epochs=200,
            patience=20,
            batch_size=1024,
            max_weights_mb=100,
        ),
    ),
}
"""`plain`: exactly as first described. `tuned`: found by the search in docs/tuning.md."""
