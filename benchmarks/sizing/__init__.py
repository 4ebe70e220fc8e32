"""How large a fleet must be: arithmetic from rates with their sources, and simulations of what it cannot see."""
