"""What a monitor does of networks that somebody made; loaded only then."""
