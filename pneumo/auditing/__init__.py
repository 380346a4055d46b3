"""Copies, files and shortcuts of a data set, and its baselines without a network."""
