"""The ssh agent that a RUN's command sees: another one's, filtered, or one of our own for key files."""
