"""What is asked: charts, questions, the agent's tools, the chat form, and the loop that plays an episode."""
