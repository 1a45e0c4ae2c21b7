"""What is done with stored runs besides analysing them: take in, check, export, clear away."""
