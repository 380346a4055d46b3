"""Run folders: the one thing that passes between commands, written and read here."""
