"""Options of filesystems that a mount or a volume names."""
