"""How a head and a backbone's last layers learn."""
