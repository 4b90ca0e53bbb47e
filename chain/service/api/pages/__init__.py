"""The explorer's pages, rendered here, readable without JavaScript."""
