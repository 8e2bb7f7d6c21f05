"""The options of containers as words: from the command line's to Docker's Config and HostConfig."""
