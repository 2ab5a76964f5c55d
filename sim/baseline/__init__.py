"""The same model on a CPU: what the hardware's speed is compared with."""
