"""What every feature is: its kind, found by evidence beside nulls, and a name where one is earned."""
