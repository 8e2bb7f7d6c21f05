"""Services for tests: a container that is ready when the test has it, and gone when the test has ended."""
