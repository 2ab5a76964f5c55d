"""Independent checks of the hardware, used by tests only and not installed."""
