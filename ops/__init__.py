"""Not part of the graph: the margin command, the generator, reports."""
