"""The field's metrics, mergeable over workers."""
