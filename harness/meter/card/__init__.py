"""What is known of one board's sensor: an idle look, what a load shows, the card and its cache."""
