"""Operations on masks: distances, skeletons, connected components."""
