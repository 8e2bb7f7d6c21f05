"""Log drivers: their options, and what a monitor is told of them."""
