"""What a network must beat: classifiers of scikit-learn that leave the run folder of a network."""
