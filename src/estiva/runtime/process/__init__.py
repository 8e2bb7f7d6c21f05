"""The process that is executed: its command, user, credentials, scheduling."""
