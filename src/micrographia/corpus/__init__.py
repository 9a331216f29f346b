"""The corpus room: text from files, packages, datasets and the model itself, as token ids that can be read anywhere."""
