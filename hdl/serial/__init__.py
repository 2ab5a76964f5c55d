"""The serial line's hardware: frames in and out, commands, and the upload of a model."""
