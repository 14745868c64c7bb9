"""What people handed in: template sets, datasets, keys; and which requests were already answered."""
