"""Networks: their contract, the paper's encoder, libraries' networks, and costs."""
