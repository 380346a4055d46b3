"""Data sets: what they hold, how they are split, read, cached and augmented."""
