"""The machine: compiled programs, small matrices, files, devices. It knows no physics."""
