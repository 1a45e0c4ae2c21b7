"""The commands of `flyback`, by what they are for; what does the work is imported when called."""
