"""The commands: each module has the function of one command and `register`, which adds it to the app."""
