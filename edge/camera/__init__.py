"""From a camera to the record: events, their pictures, and the loop between them."""
