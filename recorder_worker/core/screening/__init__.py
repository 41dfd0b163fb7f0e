"""What a film of a recording shows and when: pictures, cards for what is missing, times."""
