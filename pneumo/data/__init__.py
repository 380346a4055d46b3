"""Data sets, and how they are split, read, cached and augmented."""
