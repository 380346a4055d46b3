"""The most confident errors of a run on its own test split; a page."""
