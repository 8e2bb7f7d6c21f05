"""What a build reads from elsewhere: git repositories, files of the web, archives on standard input."""
