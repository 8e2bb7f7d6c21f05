"""Pull, push and copy: which content goes from where to where."""
