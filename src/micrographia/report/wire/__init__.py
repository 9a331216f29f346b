"""What the page is told: records and columns of a graph and its features, as JSON and binary data."""
