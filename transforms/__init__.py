"""The Beam side of the rules. State and timers live in ordered.py and nowhere else."""
