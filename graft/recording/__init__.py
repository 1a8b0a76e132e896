"""The way from journals to MLflow: the only code that imports mlflow. No stage imports it."""
