"""What the network is: configuration, float model, quantiser and the golden integer model."""
