"""How good a basis is: what it leaves unexplained, what it costs in the model's place, and who does better."""
