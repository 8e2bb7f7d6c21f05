"""What the registry server keeps, on a disk or in a bucket."""
