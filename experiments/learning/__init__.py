"""How one model learns and is judged: losses, models, one training; nothing here knows a study."""
