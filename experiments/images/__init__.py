"""What is learnt from: images and masks, synthetic or a user's own; nothing here knows a study."""
