"""What is learned and generated, as files for other programs."""
