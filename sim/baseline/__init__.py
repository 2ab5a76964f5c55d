"""The same model on a CPU, as a baseline for the hardware's speed."""
