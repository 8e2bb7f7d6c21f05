"""Verbs that show how a container is made and what happens in it: anatomy, run --explain, lesson."""
