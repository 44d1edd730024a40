"""From a folder to the record: processes that decode, threads that classify, the loop between them."""
