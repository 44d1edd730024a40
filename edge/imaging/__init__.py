"""From pictures to what networks are shown of them."""
