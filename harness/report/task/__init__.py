"""How a run of a task is shown: a summarizer, a classifier, a recognizer of speech, a maker of images."""
