"""Pictures of motion: decoded frames, block vectors over them, and fields as colors."""
