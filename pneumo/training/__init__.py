"""Training: one run from its settings to its run folder, and a sweep of them."""
