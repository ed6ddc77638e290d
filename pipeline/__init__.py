"""Image transfer learning: eight stages, run by DVC."""
