"""What can be recorded, and what of it an operator allows."""
