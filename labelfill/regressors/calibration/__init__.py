"""What held-out residuals say: how members are blended and corrected, and how far off a fill may be."""
