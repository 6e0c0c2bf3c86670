"""Every knob of models and gates once, with its unit and reason, and the presets: full sets of values for models."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

AtLeastZero = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


LARGEST = 1e6
"""Of a rating, a score or a weight, either way: a larger one means that a model has run wild."""
LIKED_SHARE = 0.8
"""Of the scale's maximum: a film counts as liked from there on, 4 of 5 stars, unless a setting says otherwise."""


class Knobs(BaseModel):
    """Frozen, and an unknown name is an error: a misspelt knob must not silently keep its default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Neighbourhood(Knobs):
    """Collaborative filtering by neighbours, for `user_user` and `item_item` alike."""

    baseline: Literal["user_mean", "bias"]
    """What a rating is measured against: the user's mean, or mu + b_u + b_i, which removes item effects too."""
    similarity: Literal["cosine", "adjusted_cosine", "pearson", "full_cosine"]
    """Over co-rated cells, except full_cosine, where absent counts as 0. Negative values are kept."""
    overlap_shrinkage: AtLeastZero
    """beta in s = sim * n / (n + beta), n co-rated cells: one common item gives cosine 1.0, which is noise."""
    support_shrinkage: AtLeastZero
    """lambda added to sum |s|: without it one enthusiastic stranger puts an obscure film first."""
    neighbours: Literal["all"] | Count
    """All, or the k most similar with s > 0: speed, and less noise."""
    support_weight: AtLeastZero
    """w in relevance = rating + w * ln(1 + support), stars: tenfold support is worth 2.3 w. 0 ranks by rating."""


class ItemNeighbourhood(Neighbourhood):
    """`item_item` can learn its weights too."""

    learnt_ridge: AtLeastZero
    """Penalty on learnt weights between films, which then order the list; 0 orders it by the formula."""


class Neural(Knobs):
    """Content filtering: a film's genres -> a hidden layer -> one output per user."""

    architecture: Literal["per_movie", "flattened"]
    """per_movie: genre vector in, all users' ratings of that film out. flattened: the original form, small data."""
    activation: Literal["none", "relu"]
    """none makes the network a low-rank linear filter."""
    baseline: Literal["none", "bias"]
    """bias adds mu + b_u + b_i, so that the network learns only what genres explain beyond them."""
    hidden: Count
    """Units of the hidden layer."""
    learning_rate: Positive
    """Adam's step size."""
    weight_decay: AtLeastZero
    """L2 penalty on the weights, in ratings' worth of squared error: a user has fewer ratings than weights."""
    epochs: Count
    """At most this many passes over the ratings."""
    patience: Count
    """per_movie stops after this many epochs without a better validation error; sooner where the best came early."""
    batch_size: Count
    """Ratings per step of per_movie."""
    max_weights_mb: Positive
    """flattened is refused above this size of its weights, MB: it needs 32 * n_users * n_items of them."""


class Models(Knobs):
    """The knobs of the three models."""

    user_user: Neighbourhood
    item_item: ItemNeighbourhood
    neural: Neural


class Gates(Knobs):
    """What a run must show before it replaces the published one; a person may override. Measured in docs/gates.md."""

    min_users_judged: Count = 20
    """A gate whose figures rest on fewer users is not asked: a bootstrap over so few says nothing."""
    min_users_share: Share = 0.9
    """Users with a list, model by model, against the published run: half of them gone is a broken export."""
    min_rows_share: Share = 0.9
    """Rows likewise: lists that have become short are no better than lists that are missing."""
    min_films_share: Share = 0.5
    """Different films likewise: a model that shows everyone the same few has learnt nothing."""
    max_rmse_of_bias: AtLeastZero = 1.0
    """RMSE against that of user and film means, which any model must match."""
    min_precision_of_popular: AtLeastZero = 0.9
    """Precision of lists that are made to be liked, against the most rated films for everyone."""
    max_rmse_of_published: AtLeastZero = 1.05
    """RMSE against the published run: shuffled ratings give 1.2, normal nights of the sample less than 1."""
    min_precision_of_published: AtLeastZero = 0.8
    """Precision against the published run: normal nights of the sample stay above 1, `plain` falls to 0.01."""
    max_churn: Share = 0.5
    """Users none of whose films stay: hardly anyone on a normal night of the sample, nearly all on a poisoned one."""


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
"""`plain` is the method as first described, to the letter; `tuned` was found by the search in docs/tuning.md."""
