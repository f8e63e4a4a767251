"""What several formats read alike: trees of files, tables, masks, pairs."""
