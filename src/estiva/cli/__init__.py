"""The command line: verbs, what they print, and the terminal."""
