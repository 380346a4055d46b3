"""What a score on a data set is worth: its copies, its files, and what needs no network."""
