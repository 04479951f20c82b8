"""A shim for tools that want setup.py; everything is in pyproject.toml."""

from setuptools import setup

setup()
