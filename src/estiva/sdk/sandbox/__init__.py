"""Throw-away boxes: snapshots, forks, boxes made ahead, a warmed interpreter."""
