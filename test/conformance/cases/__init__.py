"""The cases, one file an area; see ../README.md."""
