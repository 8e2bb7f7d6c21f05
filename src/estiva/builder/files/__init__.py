"""The files of a build: contexts, what COPY and ADD put where, and the folder that a build works in."""
