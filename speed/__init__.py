"""Speed against peers, one command each."""
