"""What the project costs, measured beside what it is compared to: `make bench`."""
