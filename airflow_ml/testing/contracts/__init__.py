"""What every adapter of a port must do: one suite of tests per port, for third parties to run on their own."""
