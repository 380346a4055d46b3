"""The report over run folders, and the model card of one: tables, pictures, pages."""
