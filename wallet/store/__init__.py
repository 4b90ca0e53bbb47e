"""A wallet's folder and its files."""
