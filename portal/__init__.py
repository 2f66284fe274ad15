"""The portal of the Japan GPU Alliance. Its sub-packages are the apps; README.md shows the map."""
