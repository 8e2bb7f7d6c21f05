"""In which order the stages of a build are done."""
