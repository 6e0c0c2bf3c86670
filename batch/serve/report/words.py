"""Numbers, moments and names of the tables -> what people read."""

import unicodedata
from datetime import UTC, date, datetime
from math import floor, log10

from markupsafe import Markup

MODELS = {
    "blend": "learnt every night from the other models",
    "blend_by_score": "the blend before unlike films are preferred",
    "user_user": "what people who rate alike rated",
    "item_item": "films that the same people like",
    "neural": "knows films by their genres only",
    "popular": "the most rated films, for everyone",
    "bias": "means of the user and of the film",
}
GATES = {
    "users_share": "Users with a list ÷ those of the published run",
    "rows_share": "Rows ÷ those of the published run",
    "films_share": "Different films ÷ those of the published run",
    "rmse_of_bias": "RMSE ÷ RMSE of bias",
    "precision_of_popular": "Precision ÷ precision of popular",
    "rmse_of_published": "RMSE ÷ RMSE of the published run",
    "precision_of_published": "Precision ÷ precision of the published run",
    "churn": "Share of users who keep no film",
}
GLOSSARY = {
    "precision, recall": "The share of a list that was liked; the share of what was liked that the list holds. "
    "Liked is a held-out rating as high as the settings ask.",
    "NDCG, MAP": "The same with more weight on the first places; 1 is a perfect list.",
    "hit rate": "Share of users with at least one liked film in their list.",
    "RMSE, MAE": "How far predicted stars are from given ones: root of the mean square, and mean.",
    "fallback": "Share of held-out ratings for which the model had no evidence, and its baseline stood in.",
    "stand-ins": "Share of all places in lists that popular films take, where the model had nothing to say.",
    "95 % interval": "What the figure would be between if other users of the same kind had been there. "
    "Models whose intervals overlap may be equally good.",
    "popularity": "Ratings of a listed film as multiples of those of an average rated film: 1× follows no fame.",
    "novelty": "How few users rated the listed films, in bits: 1 bit more is half as many.",
    "Gini": "0 where all films are listed equally often, towards 1 where a few take all places.",
    "diversity": "How different the genres within a list are: 0 all the same, 1 nothing in common.",
}
STEPS = {"load": "load", "evaluate": "measure", "fit": "fit", "score": "score, write"}
JOINERS = {"\u200c", "\u200d"}
"""Invisible, and part of how some scripts and emoji are written."""


def visible(text: str) -> str:
    """Text whose control characters, and those that turn its direction, are spelt out."""
    return "".join(f"⟨{ord(sign):04X}⟩" if _hidden(sign) else sign for sign in text)


def _hidden(sign: str) -> bool:
    return (
        unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        and sign not in JOINERS
    )


def title(text: str) -> Markup:
    """Somebody else's text: escaped, visible, and of a direction of its own."""
    return Markup("<bdi>{}</bdi>").format(visible(text))


def count(value: float) -> str:
    """12345 -> 12,345"""
    return f"{value:,.0f}"


def share(value: float) -> str:
    """0.461 -> 46 %, 0.0461 -> 4.6 %, 0.000461 -> 0.046 %: two digits that count."""
    percent = 100 * value
    digits = 0 if percent == 0 or percent >= 9.95 else max(1, 1 - floor(log10(abs(percent))))
    return f"{percent:.{digits}f}\u202f%"


def whole_share(value: float) -> str:
    """0.0461 -> 5 %, and <1 % for what is there at all."""
    return "<1\u202f%" if 0 < value < 0.005 else f"{100 * value:.0f}\u202f%"


def decimals(value: float) -> str:
    """Three digits, as metrics are told."""
    return f"{value:.3f}"


def two(value: float) -> str:
    """Two digits."""
    return f"{value:.2f}"


def times(value: float) -> str:
    """2.34 -> 2.3×"""
    return f"{value:.1f}×"


def signed(value: float) -> str:
    """+0.12, −0.03"""
    return f"{value:+.2f}".replace("-", "−")


def ratio(value: float) -> str:
    """Three digits after the point, where there can be any sense in them."""
    return decimals(value) if abs(value) < 1000 else count(value)


def figure(value: float) -> str:
    """A value of any size, by three digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def day(value: date) -> str:
    """25 November 2026"""
    return f"{value.day} {value:%B %Y}"


def moment(value: datetime) -> str:
    """25 November 2026, 02:31 UTC"""
    return f"{day(value)}, {value:%H:%M} UTC"


def known(seconds: int) -> str:
    """Seconds since 1970 -> a moment."""
    return moment(datetime.fromtimestamp(seconds, UTC))


def duration(seconds: float) -> str:
    """0.4 s, 41 s, 12 min, 1.5 h"""
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"


def memory(megabytes: float) -> str:
    """888 MB, 4.1 GB"""
    return f"{megabytes:.0f} MB" if megabytes < 999.5 else f"{megabytes / 1000:.1f} GB"


def check(name: str) -> str:
    """rows_missing_or_extra -> Rows missing or extra"""
    return GATES.get(name) or name.replace("_", " ").capitalize()
