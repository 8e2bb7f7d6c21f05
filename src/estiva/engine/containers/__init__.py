"""Verbs on containers: create, start, exec, logs, and all that is asked of one."""
