"""The reaper of testcontainers' sessions: it ends what one has left, once its connection has closed."""
