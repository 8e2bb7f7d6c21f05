"""Devices by the Container Device Interface."""
