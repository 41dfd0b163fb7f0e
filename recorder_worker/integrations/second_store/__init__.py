"""A second store for recordings: copies while they are made, and what may go here behind them."""
