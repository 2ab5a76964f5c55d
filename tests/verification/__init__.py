"""Second opinions on the hardware, which tests use and no command: they are not installed."""
