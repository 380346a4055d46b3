"""Baselines that a network must beat: classifiers of scikit-learn, with a network's run folder."""
