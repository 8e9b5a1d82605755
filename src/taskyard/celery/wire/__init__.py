"""What goes over a connection to the broker, and how."""
