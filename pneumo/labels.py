"""The classes of the task: their names and their numbers, once."""

NORMAL, PNEUMONIA = CLASS_NAMES = ("NORMAL", "PNEUMONIA")  # index = label; PNEUMONIA is positive
BACTERIA, VIRUS = "bacteria", "virus"
SUBTYPES = ("normal", BACTERIA, VIRUS)
CLASSES = {2: CLASS_NAMES, 3: (NORMAL, BACTERIA, VIRUS)}  # of a network's logits, by their number
