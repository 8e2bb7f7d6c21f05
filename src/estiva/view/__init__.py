"""What a container, or an image, is made of: gathered once (anatomy.py), as values that don't change
(shapes.py), for several drawings (words.py for text; the command line and the web page draw).

All that comes from inside of a container is hostile: it is bounded when it is read (seen.py), and what can't
be printed is escaped before it becomes a value.
"""
