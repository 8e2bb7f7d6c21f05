"""Verbs that serve others until they are told to end: a registry, the API."""
