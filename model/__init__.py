"""The network: configuration, float model, quantiser and the golden integer model."""
