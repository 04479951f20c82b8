"""The graph, and where its records come from and go to."""
