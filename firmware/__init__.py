"""What is loaded into the hardware: image, program and its schedule."""
