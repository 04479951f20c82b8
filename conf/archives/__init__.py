"""Custody files."""
