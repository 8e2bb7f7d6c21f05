"""How things are shown: templates, tables, units, progress."""
