"""What an answer is: its columns, how good it is, how it looks."""
