"""Methods: models and losses. Nothing here knows MLflow, Ray or the command line."""
