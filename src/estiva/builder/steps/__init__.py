"""What one instruction does."""
