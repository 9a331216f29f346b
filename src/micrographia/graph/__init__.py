"""Attribution graphs: what made the model say what it said, row by row, and how much is left out."""
