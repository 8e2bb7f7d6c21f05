"""Cgroups that systemd makes: scopes, over D-Bus."""
