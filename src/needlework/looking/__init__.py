"""Looking at data before anything is trained on it: one sample, or a finished export."""
