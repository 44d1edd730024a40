"""What an image file says of itself: evidence beside a model's verdict, read without decoding pixels."""
