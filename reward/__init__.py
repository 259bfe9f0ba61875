"""How a response is judged: one pure scorer a task, and the verl reward manager around them."""
