"""What a training will need before anything is downloaded: sizes of models, lengths of batches, memory, time."""
