"""Bases on disk: our own folders, and those of circuit-tracer, SAELens, sparsify, Gemma Scope, dictionary_learning."""
