"""The kinds of tokenizers: single characters, pieces of text, and those of a library."""
