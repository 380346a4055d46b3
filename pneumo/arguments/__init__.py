"""The arguments of each command, which import nothing slow: --help answers at once."""
