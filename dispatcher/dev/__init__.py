"""What developers run on their own machine, and production never does."""
