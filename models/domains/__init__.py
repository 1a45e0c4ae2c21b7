"""Domains of ferroics: the class of every pattern, and the walls between them."""
