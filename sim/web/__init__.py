"""The chip in a browser: the hardware as WebAssembly, and one page around it."""
