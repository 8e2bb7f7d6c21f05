"""What a build reads from elsewhere: git repositories, files and archives from the web and from standard input."""
