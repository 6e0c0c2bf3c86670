"""Scores -> lists, and how good they are: pure, arrays in and arrays out."""
