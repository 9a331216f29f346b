"""Tiny models whose features are known because they were put there: what every other room is focused on."""
