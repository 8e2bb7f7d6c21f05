"""What is known of containers: rows, records, locks, names."""
