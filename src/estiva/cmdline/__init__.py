"""What both command lines share: the parser of words, and how a program begins and ends."""
