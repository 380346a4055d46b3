"""How other images differ from those a run was validated on, and whether that is chance."""
