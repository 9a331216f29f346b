"""The model room: one typed, exact way to look inside a language model and to change what happens there."""
