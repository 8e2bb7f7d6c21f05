"""What a build gives: its outputs judged, and what is said of an image beside its layers."""
