"""What things cost on this machine. Printed, never asserted."""
