"""Interventions on the running model, and what they say about the claims of a graph."""
