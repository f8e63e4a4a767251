"""Raw data of any kind as records, a file each format."""
