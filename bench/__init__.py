"""Benchmarks: what a recomputed account costs in the graph, and in the designs it is compared with."""
