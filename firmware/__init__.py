"""Contents to load into the hardware: image, program and its schedule."""
