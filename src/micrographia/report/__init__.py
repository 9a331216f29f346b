"""What a person sees of a graph: an outline, the books in words, a terminal summary, a picture, one HTML file."""
