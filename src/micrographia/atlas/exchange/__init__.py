"""Atlases as other tools' files."""
