"""Networks: what one must be, the paper's encoder, and what a forward pass costs."""
