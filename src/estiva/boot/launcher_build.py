"""The start of `estiva build` is launcher.py's. This is for its modules, which are many, and no other verb's:
they are in a file of their own (quickload.py), beside which there has to be a source.
"""
