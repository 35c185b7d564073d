"""Stage 1: fit the activation network on frozen features and read the saliency cues off it (Eq. 1-5)."""
