"""From a photo and a detector to the files a user asked for."""
