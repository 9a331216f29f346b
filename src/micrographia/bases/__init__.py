"""The bases room: what an MLP's output is written in. Neurons, which need no training, and transcoders, which do."""
