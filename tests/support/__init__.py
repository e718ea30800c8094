"""What several test modules need: models, images, runs, processes, pages. No tests stand here."""
