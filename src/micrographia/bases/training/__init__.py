"""Training transcoders: a stream of activations, a sparse step, and what keeps both going for hours."""
