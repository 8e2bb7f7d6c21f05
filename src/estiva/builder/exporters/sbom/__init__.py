"""What an image holds, as SPDX: the packages that its own databases and files tell of."""
