"""What the default bridge has only where the settings say so."""
