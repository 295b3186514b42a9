"""Stage three: the final network, its predictions, submissions and exports."""
