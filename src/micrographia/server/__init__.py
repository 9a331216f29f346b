"""The page's server on this machine: graphs, features, and the model at work, behind a token."""
