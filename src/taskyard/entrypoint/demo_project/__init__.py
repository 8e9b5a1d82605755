"""The demo's project: ``taskyard demo`` copies it into a temporary folder and runs it there."""
