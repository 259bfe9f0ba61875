"""The search tool of the question-answering task: index, retrieval server, client and verl tool."""
