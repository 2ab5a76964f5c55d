"""The merged form: the network with its matrices multiplied out where nothing is between them."""
