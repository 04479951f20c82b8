"""Configuration that ships: rulebooks and job files, every number with its source."""
