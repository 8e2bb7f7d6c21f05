"""What a program holds: a container, its files, commands and logs; and the values that are shown."""
