"""What differs by engine."""
