"""Containers, as the API has them: looked at, made and ended, listened to."""
