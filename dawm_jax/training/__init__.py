"""Training: one compiled loop, its devices, its data and its optimizer."""
