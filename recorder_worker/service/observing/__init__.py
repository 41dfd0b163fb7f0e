"""What is logged, counted, traced and looked up of a running worker."""
