"""Reasons of listed films: built as JSON text, read back, and put into words; no arrays."""

from batch.reasons.build import (
    PARTS_OF_ODDS,
    PARTS_OF_STAR,
    departure,
    fallback,
    filler,
    neighbours,
    no_prediction,
    own_genres,
    own_ratings,
    shares,
)
from batch.reasons.parse import as_text, films, genres, read
from batch.reasons.sentences import SHARES, liked_by, sentence

__all__ = [
    "PARTS_OF_ODDS",
    "PARTS_OF_STAR",
    "SHARES",
    "as_text",
    "departure",
    "fallback",
    "filler",
    "films",
    "genres",
    "liked_by",
    "neighbours",
    "no_prediction",
    "own_genres",
    "own_ratings",
    "read",
    "sentence",
    "shares",
]
