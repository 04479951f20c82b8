"""The Beam side of the rules. State and timers live in unbounded.py, behind InTimeOrder, and nowhere else."""
