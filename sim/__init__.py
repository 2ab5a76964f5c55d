"""Running the hardware: simulation engines, host model, meters and waveforms."""
