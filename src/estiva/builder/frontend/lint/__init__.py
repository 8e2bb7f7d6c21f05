"""What is allowed in a Dockerfile and yet likely a mistake, by the names that BuildKit has for it.

`rule.py` says what a rule is and which of them count; the rules stand in `written.py` (what one sees without
knowing what a name means), `bases.py` (FROM) and `steps.py` (the rest); `walk.py` calls them.
"""
