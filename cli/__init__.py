"""The `gptloom` command: one thin file per subcommand."""
