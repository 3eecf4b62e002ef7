"""What every command needs and nothing else: errors, the world, the command line, progress."""
