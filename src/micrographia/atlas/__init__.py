"""What each feature does over a corpus: when it is active, where most, beside which tokens, and what it promotes."""
