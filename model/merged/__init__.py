"""The merged form: the same network with its matrices multiplied out where nothing divides them."""
