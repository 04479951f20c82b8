"""Rulebooks."""
