"""Images from files; operations on masks: distances, skeletons, connected components."""
