"""The hardware, described in Amaranth."""
