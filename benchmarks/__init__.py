"""How fast the software is, beside the same network as most would write it."""
